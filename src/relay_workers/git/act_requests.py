"""Requests for the git acts `push` and `reset`, and the result of a push: value types of the interface `Git`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import UUID

from relay_core.domain.logs.masking import SecretMask


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
