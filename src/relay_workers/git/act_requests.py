"""Requests for git acts, and their results: value types of the interface `Git`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import UUID

from relay_core.domain.logs.masking import SecretMask


@dataclass(frozen=True, slots=True)
class RecordedStart:
    """A state that `Git.after_state` recorded of a clone of another workspace, from which a new clone starts."""

    workspace_id: UUID
    """The workspace whose store has the state. Neither its clone nor its container is looked at."""
    name: str
    """Name of the clone in that workspace."""
    commit: str
    """Id of the pinned commit."""
    base_commit: str
    """The commit from which that workspace's branch started."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Request to push a commit that `Git.after_state` recorded to a branch of the clone's remote."""

    workspace_id: UUID
    name: str
    """Name of the clone's directory below ``repos/``."""
    url: str
    commit: str
    """Id of the commit; the after-state of the clone was recorded with it as HEAD."""
    base_commit: str
    """The commit from which the workspace's branch started."""
    branch: str
    """Branch of the remote."""
    on_output: Callable[[bytes], None]
    """Called with progress and messages for the log, with secrets masked."""
    cancelled: Event
    """Another thread sets this event to cancel the push."""
    lease: str | None = None
    """The commit of the branch that may be replaced, as `Git.branch_at` told it; empty: the branch must not exist.

    None: no commit may be replaced.
    """
    mask: SecretMask = field(default_factory=SecretMask)
    """Knows the secrets that the pushed commits and all texts must not contain."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A branch of a remote that points to the pushed commit now."""

    commit: str
    branch: str
    changed: bool
    """Whether this push has moved or made the branch; if not, it pointed to the commit before."""
    replaced: bool = False
    """Whether the branch pointed to a commit that is no ancestor of the pushed one."""


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """Request to reset a clone: HEAD is on the workspace's branch, at a commit, and index and files are those of it."""

    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror_path: Path
    branch: str
    """The workspace's branch."""
    commit: str
    """Id of the commit, or the first seven or more characters of it."""
    uid: int
    """User as which git runs in the clone."""
    gid: int
    """Group as which git runs in the clone."""
    cancelled: Event
    """Another thread sets this event to cancel the reset."""
    store_of: UUID | None = None
    """Workspace in whose store of this clone the commit is; its objects are copied. None: the clone has the commit."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Request to bring a new clone to a state that another node recorded."""

    workspace_id: UUID
    reset: ResetRequest
    """The clone, and the full id of the recorded commit; `store_of` is not looked at."""
    bundle: bytes | None
    """Git bundle of the commits from the base commit, which the mirror has, to the recorded one; None: no bundle."""
    pin: UUID
    """Names the ref that keeps the commit in the store."""


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """Request to merge two commits, or to replay the commits of one on top of the other, outside of any clone."""

    workspace_id: UUID
    workspace_dir: Path
    name: str
    """Name of the clone's directory below ``repos/``; the commits are in the clone's store or in the mirror."""
    mirror_path: Path
    target_commit: str
    """Commit of the target branch."""
    source_commit: str
    """Commit of the workspace's branch."""
    base_commit: str | None
    """Commit up to which the target has what the workspace has; None: git finds the common ancestors.

    A replay needs it: it replays the commits after this one.
    """
    pin: UUID
    """Names the ref that keeps the new commit in the store."""
    uid: int
    """User as which git runs."""
    gid: int
    """Group as which git runs."""
    cancelled: Event
    """Another thread sets this event to cancel the act."""
    message: str = ""
    """Message of a merge's commit."""
    two_parents: bool = False
    """Whether a merge's commit has the source as second parent; if not, its only parent is the target."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge, or of a replay.

    Attributes:
        commit: the new commit, which is in the store; None if there are conflicts, or a merge would change nothing.
        conflicts: paths that both sides changed.
        at: the commit whose replay has the conflicts; empty for a merge.
        replayed: number of replayed commits.
    """

    commit: str | None
    conflicts: tuple[str, ...] = ()
    at: str = ""
    replayed: int = 0
