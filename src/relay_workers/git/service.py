"""The entrance to git for the other parts of the worker: clones, heads, after-states, and their removal."""

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
    """Implements the port `Git` with git itself. Usable from several threads at once."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool
        self._cloner = Cloner(settings, tool)
        self._recorder = Recorder(settings, tool)

    def clone(self, request: CloneRequest) -> CloneResult:
        """Bring the mirror of the remote up to date and check a workspace's clone out of it.

        Idempotent: a complete clone stays as it is, an incomplete one is replaced. A failure leaves no clone behind.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not valid.
            StepFailed: reason ``clone_failed``, ``clone_timeout``, ``oom``, ``disk_limit``, ``image_unavailable`` or
                ``engine_error``; ``user`` if the request was cancelled.
        """
        return self._cloner.clone(request)

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the directory of a remote's mirror, which exists once the remote was cloned.

        Raises:
            InvalidInput: the URL is not allowed.
        """
        return Mirrors(self._settings).path(project_id, parse_git_url(url, self._settings.remote_policy))

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Return commit and branch of each clone of the workspace, by reading files only (1 ms per clone)."""
        return {name: read_head(workspace_dir, name) for name in names}

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record the state in which a step left one clone; if the request has a commit message, commit it first.

        Never raises because of the clone's content: the result names the problem and the files that are not recorded.
        """
        return self._recorder.record(request)

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove the files and the stores of a workspace; harmless if they do not exist.

        A container removes as root the files that the worker cannot remove (those of other users, very deep trees).

        Raises:
            StepFailed: reason ``engine_error``: some files cannot be removed.
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
