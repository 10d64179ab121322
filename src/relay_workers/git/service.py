"""The implementation of the port `Git`, which is described in port.py."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.url import parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.host.mirror import Mirrors
from relay_workers.git.port import AfterState, AfterStateRequest, CloneRequest, CloneResult, Head
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.after_state import Recorder
from relay_workers.git.sandbox.container import ContainerUser
from relay_workers.git.sandbox.head_reader import read_head
from relay_workers.git.sandbox.make_clone import Cloner


class GitService:
    """Implements the port `Git` with git itself. Usable from several threads at once."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool
        self._cloner = Cloner(settings, tool)
        self._recorder = Recorder(settings, tool)

    def clone(self, request: CloneRequest) -> CloneResult:
        """Make a clone as `Git.clone` describes it."""
        return self._cloner.clone(request)

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the directory of a mirror as `Git.mirror_path` describes it."""
        return Mirrors(self._settings).path(project_id, parse_git_url(url, self._settings.remote_policy))

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Read the heads of clones as `Git.heads` describes it."""
        return {name: read_head(workspace_dir, name) for name in names}

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record the state of a clone as `Git.after_state` describes it."""
        return self._recorder.record(request)

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove a workspace as `Git.remove_workspace` describes it.

        A container removes as root the files that the worker cannot remove (those of other users, very deep trees).
        """
        shutil.rmtree(self._settings.data_dir / "stores" / str(workspace_id), ignore_errors=True)
        try:
            shutil.rmtree(workspace_dir)  # walks by descriptors and follows no links (rmtree.avoids_symlink_attacks)
        except FileNotFoundError:
            return
        except (OSError, RecursionError):
            run = container.tool_run("empty_workspace", workspace_dir, ContainerUser(0, 0), self._settings)
            self._tool.run(replace(run, capabilities=("DAC_OVERRIDE", "FOWNER")))
            try:
                workspace_dir.rmdir()
            except OSError as error:
                raise StepFailed(Reason.ENGINE_ERROR, f"{workspace_dir} cannot be removed: {error}") from error
