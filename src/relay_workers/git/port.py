"""The port `Git` and its values: the clones of a workspace are made, read, recorded and removed through it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from relay_core.domain.logs.masking import SecretMask


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """A clone that is to be made in a workspace."""

    project_id: UUID
    workspace_id: UUID
    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``."""
    url: str
    target_branch: str | None
    """The remote's branch at which the workspace's branch begins; None for the remote's default branch."""
    branch: str
    """The workspace's branch, which is created."""
    uid: int
    gid: int
    on_output: Callable[[bytes], None]
    """Called with progress and messages for the log."""
    cancelled: Event
    """Set by another thread to cancel the clone."""


@dataclass(frozen=True, slots=True)
class CloneResult:
    """A clone that is complete."""

    head_commit: str
    target_branch: str | None
    """The remote's branch at which the clone began; None if no branch of the remote is at that commit."""
    mirror_path: Path
    """The mirror, which every container that uses the clone must mount read-only at this very path."""
    submodules: tuple[str, ...]
    """Paths of submodules, which are left empty; at most 20; git quotes paths with special characters."""


class Head(NamedTuple):
    """Commit and branch of a clone's HEAD."""

    commit: str | None
    """Id of the commit; None if the branch has none yet, or it cannot be read."""
    branch: str | None
    """Name without ``refs/heads/``; None if HEAD contains a commit, or points to another ref."""
    problem: str | None
    """Why commit or branch is not known; None also for a HEAD that contains a commit (detached)."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A unified diff of two commits, binary files included, in the format of `git apply`."""

    text: bytes
    truncated: bool
    """Whether the diff was longer than its limit; it is then cut after the last line that fits."""
    files: int
    insertions: int
    deletions: int
    masked: tuple[str, ...] = ()
    """Paths of files whose part of the diff differs from the file, because a secret was masked or left out."""

    @property
    def applies(self) -> bool:
        """Whether applying the diff gives the same files as the commit."""
        return not self.truncated and not self.masked


@dataclass(frozen=True, slots=True)
class AfterStateRequest:
    """A clone that is to be recorded after a step."""

    workspace_id: UUID
    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror_path: Path
    base_commit: str
    """The commit at which the workspace's branch began."""
    before_commit: str | None
    """HEAD before the step; None if it is not known."""
    uid: int
    gid: int
    execution_id: UUID
    commit_message: str | None = None
    """If given, the work tree is first committed on its branch with this message; at most 4 KiB of it are used."""
    mask: SecretMask = field(default_factory=SecretMask)
    """Knows the secrets that the patches must not contain."""


class OmittedPath(NamedTuple):
    """A changed path that a commit or diff lacks."""

    path: str
    why: str
    """Reason for people."""


@dataclass(frozen=True, slots=True)
class AfterState:
    """The state in which a step left a clone."""

    after_head: str | None
    """Commit of HEAD, after Relay's own commit; None if it cannot be read."""
    branch: str | None = None
    """Branch of HEAD; None if HEAD is on no branch."""
    committed: str | None = None
    """The commit that Relay made; None if it made none."""
    commit_problem: str | None = None
    """Why Relay could not make the requested commit; None also if there was nothing to commit."""
    dirty: bool | None = None
    """Whether the work tree now differs from HEAD, untracked files included; None if it could not be compared."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Changes before the commit, as of `container.summarise`: a count for each of `container.KINDS`, ``paths``,
    ``complete``."""
    pinned_commit: str | None = None
    """The commit that the store keeps: HEAD, or a commit of the changed work tree on top of it."""
    patch: Patch | None = None
    """Diff from the base commit to the pinned commit."""
    step_patch: Patch | None = None
    """Diff from HEAD before the step to the pinned commit; None if that is `patch`, or the store lacks that HEAD."""
    omitted: tuple[OmittedPath, ...] = ()
    """Changed paths that are not recorded, or not committed; the first 100."""
    problem: str | None = None
    """Why the state is recorded only in part; None if it is complete."""


class Git(Protocol):
    """Operations on the clones of workspaces. Usable from several threads at once; each call may be repeated."""

    def clone(self, request: CloneRequest) -> CloneResult:
        """Bring the mirror of the remote up to date and check a workspace's clone out of it.

        A complete clone stays as it is, an incomplete one is replaced. A failure leaves no part of a clone behind.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not valid.
            StepFailed: reason ``clone_failed``, ``clone_timeout``, ``oom``, ``disk_limit``, ``image_unavailable`` or
                ``engine_error``; ``user`` if the request was cancelled.
        """

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the directory of a remote's mirror on this node, whether it exists or not.

        Raises:
            InvalidInput: the URL is not allowed.
        """

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Return commit and branch of each clone, by the clone's name; only files are read (1 ms per clone).

        Never raises because of a clone's content: `Head.problem` tells why something could not be read.
        """

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record the state in which a step left one clone; if the request has a commit message, commit it first.

        Never raises because of the clone's content: `AfterState.problem` tells what could not be recorded.
        """

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove the files and the stores of a workspace; harmless if they do not exist.

        Raises:
            StepFailed: reason ``engine_error``: some files cannot be removed.
        """
