"""The implementation of the interface `Git`, which port.py describes."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.url import parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.act_requests import Merged, MergeRequest, Pushed, PushRequest, ResetRequest, RestoreRequest
from relay_workers.git.host.committed_files import files_in_commit
from relay_workers.git.host.fetch import Fetcher
from relay_workers.git.host.mirror import Mirrors
from relay_workers.git.host.push import Pusher
from relay_workers.git.host.recorded import take_recorded
from relay_workers.git.host.store import Store
from relay_workers.git.port import (
    AfterState,
    AfterStateRequest,
    CloneRequest,
    CloneResult,
    CommittedFile,
    FetchedRemote,
    FetchRequest,
    Head,
)
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.after_state import Recorder
from relay_workers.git.sandbox.container import ContainerUser
from relay_workers.git.sandbox.head_reader import read_head
from relay_workers.git.sandbox.make_clone import Cloner
from relay_workers.git.sandbox.merge import Merger
from relay_workers.git.sandbox.reset import Resetter

_MOST_PATH_BYTES = 8 << 20
"""Most bytes of the names of changed files; more are not compared with a scope."""


class GitService:
    """Implements the interface `Git` with the program git. Thread-safe.

    Args:
        settings: settings of the worker.
        tool: runs the git container.
    """

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool
        self._fetcher = Fetcher(settings)
        self._cloner = Cloner(settings, tool, self._fetcher)
        self._recorder = Recorder(settings, tool)
        self._pusher = Pusher(settings)
        self._resetter = Resetter(settings, tool)
        self._merger = Merger(settings, tool)

    def fetch(self, request: FetchRequest) -> FetchedRemote:
        """Update the mirror of a remote, or make it; see `Git.fetch`."""
        return self._fetcher.fetch(request)

    def files_of_target(self, remote: FetchedRemote, paths: Sequence[str], max_bytes: int) -> list[CommittedFile]:
        """Return those of the paths that the commit of the target branch has; see `Git.files_of_target`."""
        return files_in_commit(remote.mirror_path, remote.target_commit, paths, max_bytes)

    def clone(self, request: CloneRequest) -> CloneResult:
        """Update the remote's mirror and make a clone from it in a workspace; see `Git.clone`."""
        return self._cloner.clone(request)

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the path of a remote's mirror on this node; see `Git.mirror_path`."""
        return Mirrors(self._settings).path(project_id, parse_git_url(url, self._settings.remote_policy))

    def remove_mirror(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
        """Remove the mirror of a remote, unless it is being fetched; see `Git.remove_mirror`."""
        return self._fetcher.remove(project_id, url, wanted)

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Return the commit and branch of each clone's HEAD, by the name of the clone; see `Git.heads`."""
        return {name: read_head(workspace_dir, name) for name in names}

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record the state of a clone after a step, after a commit if one is requested; see `Git.after_state`."""
        return self._recorder.record(request)

    def changed_paths(self, request: AfterStateRequest, after: str) -> list[str] | None:
        """Return the paths that a step has changed up to a recorded commit; see `Git.changed_paths`."""
        store = Store(self._settings, request.workspace_id, request.name)
        before = request.before_commit
        base = before if before and store.has(before) else request.base_commit
        try:
            return store.changed_paths(base, after, _MOST_PATH_BYTES)
        except StepFailed:
            return None

    def branch_at(self, request: PushRequest) -> str:
        """Return the commit of a push's branch at the remote; see `Git.branch_at`."""
        return self._pusher.branch_at(request)

    def push(self, request: PushRequest) -> Pushed:
        """Push a commit to a branch of the remote; see `Git.push`."""
        return self._pusher.push(request)

    def resolve(self, request: ResetRequest) -> str:
        """Return the full id of the commit of a reset; see `Git.resolve`."""
        return self._resetter.resolve(request)

    def reset(self, request: ResetRequest) -> str:
        """Reset a clone to a commit; see `Git.reset`."""
        return self._resetter.reset(request)

    def restore(self, request: RestoreRequest) -> str:
        """Bring a new clone to a recorded commit; see `Git.restore`."""
        take_recorded(self._settings, request)
        return self._resetter.reset(replace(request.reset, store_of=request.workspace_id))

    def merge(self, request: MergeRequest) -> Merged:
        """Merge two commits as a new commit of the store; see `Git.merge`."""
        return self._merger.merge(request)

    def replay(self, request: MergeRequest) -> Merged:
        """Replay commits on top of another one, as new commits of the store; see `Git.replay`."""
        return self._merger.replay(request)

    def contains(self, workspace_id: UUID, name: str, commit: str, wanted: str) -> bool:
        """Return whether a commit is another one, or an ancestor of it; see `Git.contains`."""
        return Store(self._settings, workspace_id, name).contains(commit, wanted)

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove the files and the stores of a workspace; see `Git.remove_workspace`.

        Files that the worker cannot remove (files of other users, very deep trees) are removed by a container as root.
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
