"""Everything the runner asks of git: clone, heads, after-states, and the removal of both."""

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
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.after_state import AfterState, AfterStateRequest, Recorder
from relay_workers.git.sandbox.container import ContainerUser
from relay_workers.git.sandbox.head_reader import Head, read_head
from relay_workers.git.sandbox.make_clone import Cloner, CloneRequest, CloneResult

__all__ = ["AfterState", "AfterStateRequest", "CloneRequest", "CloneResult", "GitService", "Head"]


class GitService:
    """The `Git` of a node, by git itself; usable from many threads."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool
        self._cloner = Cloner(settings, tool)
        self._recorder = Recorder(settings, tool)

    def clone(self, request: CloneRequest) -> CloneResult:
        """Bring the mirror up to date and check a workspace's clone out of it.

        Idempotent: a clone that is complete is left as it is, an incomplete one made again. A failure leaves nothing.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not usable.
            StepFailed: reason ``clone_failed``, ``clone_timeout``, ``oom``, ``disk_limit``, ``image_unavailable``,
                ``engine_error``; ``user`` where it was cancelled.
        """
        return self._cloner.clone(request)

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Where the mirror of a remote is, or will be once it was cloned.

        Raises:
            InvalidInput: the URL is not allowed.
        """
        return Mirrors(self._settings).path(project_id, parse_git_url(url, self._settings.remote_policy))

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Where each clone stands, by reading files only (a millisecond each)."""
        return {name: read_head(workspace_dir, name) for name in names}

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record what a step left in one clone, after committing it where a message is given.

        Never raises for what the clone contains: the state says what could not be recorded.
        """
        return self._recorder.record(request)

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove a workspace's files and stores; nothing happens where there are none.

        What the worker may not remove itself (files of other users, very deep trees) a container removes as root.

        Raises:
            StepFailed: reason ``engine_error``: it cannot be removed.
        """
        shutil.rmtree(self._settings.data_dir / "stores" / str(workspace_id), ignore_errors=True)
        try:
            shutil.rmtree(workspace_dir)  # by descriptor: follows no links (shutil.rmtree.avoids_symlink_attacks)
        except FileNotFoundError:
            return
        except (OSError, RecursionError):
            run = container.tool_run("empty_workspace", workspace_dir, ContainerUser(0, 0), self._settings)
            self._tool.run(replace(run, capabilities=("DAC_OVERRIDE", "FOWNER")))
            try:
                workspace_dir.rmdir()
            except OSError as error:
                raise StepFailed(Reason.ENGINE_ERROR, f"{workspace_dir} cannot be removed: {error}") from error
