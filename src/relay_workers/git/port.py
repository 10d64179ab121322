"""The interface `Git`, which makes, reads, records and removes the clones of a workspace, and its value types."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.fetch_progress import FetchProgress
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_workers.git.act_requests import RecordedStart
from relay_workers.git.acts_port import CommitActs


class StartPointMissing(StepFailed):
    """The fetch succeeded, but the remote has no commit from which the branch could start."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CLONE_FAILED, message)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Request to update the mirror of a remote."""

    project_id: UUID
    url: str
    target_branch: str | None
    """The remote's branch from which a workspace's branch starts; None for the remote's default branch."""
    on_output: Callable[[bytes], None]
    """Called with progress and messages for the log."""
    cancelled: Event
    """Another thread sets this event to cancel the fetch."""
    ref: str | None = None
    """Branch, tag, commit id or full ref name from which the branch starts; None for the target branch."""
    on_progress: Callable[[FetchProgress], None] | None = None
    """Called with each state of git's progress, maybe thousands a second; it must not block. None: not called."""


@dataclass(frozen=True, slots=True)
class FetchedRemote:
    """A remote whose mirror has just been updated, and where a clone of it starts."""

    mirror_path: Path
    default_branch: str | None
    """None if the remote has no default branch."""
    target_branch: str | None
    """None if no branch of the remote is at the start."""
    target_commit: str
    """Commit of the target branch; the start if there is no target branch."""
    start_commit: str


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """A path in a commit, and its content, cut one byte after the limit; None if the path is no regular file."""

    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """Request to make a clone in a workspace."""

    project_id: UUID
    workspace_id: UUID
    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``."""
    url: str
    target_branch: str | None
    """The remote's branch into which the work is to be merged; None for the remote's default branch."""
    branch: str
    """The workspace's branch, which the clone creates."""
    uid: int
    """User that will own the clone's files."""
    gid: int
    """Group that will own the clone's files."""
    on_output: Callable[[bytes], None]
    """Called with progress and messages for the log."""
    cancelled: Event
    """Another thread sets this event to cancel the clone."""
    ref: str | None = None
    """Branch, tag, commit id or full ref name from which the branch starts; None for the target branch."""
    remote: FetchedRemote | None = None
    """The state of the remote that `Git.fetch` returned for the same names; None: the clone fetches."""
    start: RecordedStart | None = None
    """The state from which the branch starts, in place of `ref` and the target branch; None: it starts from these."""


@dataclass(frozen=True, slots=True)
class CloneResult:
    """A complete clone."""

    head_commit: str
    """Id of the commit that is checked out."""
    target_branch: str | None
    """The remote's branch into which the work is to be merged; None if the remote has no default branch."""
    mirror_path: Path
    """The git mirror whose objects the clone uses: every container with the clone mounts it read-only at this path."""
    submodules: tuple[str, ...]
    """Paths of the submodules, at most 20, as git quotes them; their directories are empty."""
    base_commit: str | None = None
    """Where the branch left the target branch, if it starts from a recorded state; None: at `head_commit`."""


class Head(NamedTuple):
    """Commit and branch of a clone's HEAD."""

    commit: str | None
    """Id of the commit; None if the branch has no commit yet, or the commit cannot be read."""
    branch: str | None
    """Name without ``refs/heads/``; None if HEAD is detached (contains a commit), or points to another kind of ref."""
    problem: str | None
    """Why the commit or branch is not known; None if there is no problem, also for a detached HEAD."""
    missing: bool = False
    """Whether there is no clone."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A unified diff between two commits, with binary files, in the format of `git apply`."""

    text: bytes
    truncated: bool
    """Whether the diff was longer than its limit and is therefore cut after the last line that fits."""
    files: int
    """Number of changed files, also if the diff is cut."""
    insertions: int
    """Number of added lines, also if the diff is cut."""
    deletions: int
    """Number of removed lines, also if the diff is cut."""
    masked: tuple[str, ...] = ()
    """Paths of files whose part of the diff is not exact, because a secret was masked or binary content left out."""

    @property
    def applies(self) -> bool:
        """Whether `git apply` with this diff produces exactly the files of the newer commit."""
        return not self.truncated and not self.masked


@dataclass(frozen=True, slots=True)
class Bundle:
    """A git bundle of the commits from a workspace's base commit to its pinned commit, or why there is none."""

    content: bytes | None
    """The bundle; None if there is none."""
    problem: str | None = None
    """Why there is none; None if there is one."""


@dataclass(frozen=True, slots=True)
class AfterStateRequest:
    """Request to record the state of a clone after a step."""

    workspace_id: UUID
    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror_path: Path
    base_commit: str
    """The commit from which the workspace's branch started."""
    before_commit: str | None
    """Commit of HEAD before the step; None if it is not known."""
    uid: int
    """User as which git runs in the clone."""
    gid: int
    """Group as which git runs in the clone."""
    execution_id: UUID
    commit_message: str | None = None
    """Message (at most 4 KiB are used) for a commit of the work tree before recording; None makes no commit."""
    mask: SecretMask = field(default_factory=SecretMask)
    """Masks the secrets that the patches must not contain."""
    bundle_branch: str | None = None
    """Name of the branch in the bundle; None makes no bundle."""
    run_commit: str | None = None
    """Commit of HEAD before the first step of the run that the step belongs to; None if it is not known."""
    bundled: frozenset[str] = frozenset()
    """Pinned commits of earlier steps whose bundles are stored; for these none is made again."""
    copied: tuple[str, ...] = ()
    """Paths of files that Relay copied into the clone; while git does not have them, Relay does not commit them."""


class ExcludedPath(NamedTuple):
    """A new file or directory that Relay does not commit, because it matches a pattern of the exclude list."""

    path: str
    """Path in the clone; that of a directory ends with a slash."""
    pattern: str


class OmittedPath(NamedTuple):
    """A changed path that is missing from a commit or diff."""

    path: str
    why: str
    """The reason, as a text for people."""


@dataclass(frozen=True, slots=True)
class AfterState:
    """The recorded git state of a clone after a step."""

    after_head: str | None
    """Commit of HEAD after the step, or Relay's own commit if Relay made one; None if HEAD cannot be read."""
    branch: str | None = None
    """Branch of HEAD; None if HEAD is on no branch."""
    committed: str | None = None
    """The commit that Relay made; None if it made none."""
    commit_problem: str | None = None
    """Why Relay could not make the requested commit; None if there was no problem or nothing to commit."""
    dirty: bool | None = None
    """Whether the work tree now differs from HEAD, untracked files included; None if it could not be compared."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Changes before Relay's commit, as `container.summarise` returns them.

    The keys are ``paths``, ``complete``, and each of `container.KINDS` with a number of changes.
    """
    pinned_commit: str | None = None
    """The commit that the store keeps: HEAD, or a commit of the changed work tree on top of HEAD; None: no commit."""
    patch: Patch | None = None
    """Diff from the base commit to the pinned commit; None if it could not be made."""
    step_patch: Patch | None = None
    """Diff from HEAD before the step to the pinned commit.

    None if HEAD before the step was the base commit (`patch` is then this diff), is unknown, or is not in the store.
    """
    run_base: str | None = None
    """HEAD before the run, if that is another commit than the base commit and a diff from it could be made.

    That diff is `run_patch`, or `step_patch` if `run_patch` is None.
    """
    run_patch: Patch | None = None
    """Diff from `run_base` to the pinned commit; None if `step_patch` is this diff, or `run_base` is None."""
    omitted: tuple[OmittedPath, ...] = ()
    """The first 100 of the changed paths that are not recorded or not committed."""
    excluded: tuple[ExcludedPath, ...] = ()
    """The first 100 of the new files and directories that the exclude list leaves out."""
    excluded_count: int = 0
    """Number of new files and directories that the exclude list leaves out, at most 10,000."""
    bundle: Bundle | None = None
    """The bundle of the pinned commit; None if nothing is pinned or changed, or if an earlier step has it."""
    problem: str | None = None
    """Why the state is only partly recorded; None if it is complete."""


class Git(CommitActs, Protocol):
    """Operations on the clones of workspaces. Thread-safe; any call may be repeated, for example after a crash."""

    def fetch(self, request: FetchRequest) -> FetchedRemote:
        """Update the mirror of a remote, or make it.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not valid.
            StepFailed: reason ``clone_failed``, ``clone_timeout`` or ``disk_limit``; ``user`` if the request was
                cancelled. `StartPointMissing` if only the start is missing; the mirror is up to date then.
        """

    def files_of_target(self, remote: FetchedRemote, paths: Sequence[str], max_bytes: int) -> list[CommittedFile]:
        """Return those of the paths that the commit of the target branch has, read from the mirror.

        Nothing is checked out and nothing of the repository is executed: no filter, no attribute, no link is followed.

        Args:
            remote: what `fetch` returned.
            paths: relative to the root of the repository.
            max_bytes: most bytes of a file; a longer one is returned with one byte more.

        Raises:
            StepFailed: reason ``clone_failed``: git cannot read the commit.
        """

    def clone(self, request: CloneRequest) -> CloneResult:
        """Make a clone in a workspace; update the mirror of the remote first, unless the request holds its state.

        A complete clone stays unchanged; an incomplete one is replaced. After a failure, no part of a new one is left.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not valid.
            StepFailed: reason ``clone_failed``, ``clone_timeout``, ``oom``, ``disk_limit``, ``image_unavailable`` or
                ``engine_error``; ``user`` if the request was cancelled.
        """

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the path of a remote's mirror on this node; the mirror need not exist.

        Raises:
            InvalidInput: the URL is not allowed.
        """

    def remove_mirror(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
        """Remove the mirror of a remote, unless it is being fetched; a mirror that is gone counts as removed.

        Args:
            project_id: the project to which the mirror belongs.
            url: the remote.
            wanted: called while no fetch can begin; if it returns False, nothing is removed.

        Returns:
            Whether the mirror is gone.
        """

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Return the commit and branch of each clone's HEAD, by the name of the clone.

        Runs no git (1 ms per clone). Never raises because of a clone's content: `Head.problem` says what is not known.
        """

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record the state of one clone after a step; if the request has a commit message, commit the work tree first.

        Never raises because of the clone's content: `AfterState.problem` explains what could not be recorded.
        """

    def changed_paths(self, request: AfterStateRequest, after: str) -> list[str] | None:
        """Return the paths in which a recorded commit differs from HEAD before the step; None if they are unknown.

        They are unknown if there are too many, or a commit is missing. If HEAD before the step is not known, the commit
        is compared with the one from which the workspace's branch started.
        """

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove the files and the stores of a workspace; do nothing if they do not exist.

        Raises:
            StepFailed: reason ``engine_error``: some files cannot be removed.
        """
