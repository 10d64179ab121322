"""The git port: clones of a workspace, where they stand, what a step left in them, and their removal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from relay_workers.git.sandbox.after_state import AfterState, AfterStateRequest
from relay_workers.git.sandbox.head_reader import Head
from relay_workers.git.sandbox.make_clone import CloneRequest, CloneResult

__all__ = ["AfterState", "AfterStateRequest", "CloneRequest", "CloneResult", "Git", "Head"]


class Git(Protocol):
    """Git for the runner; usable from many threads. Each call may be repeated."""

    def clone(self, request: CloneRequest) -> CloneResult:
        """Bring the mirror up to date and check a workspace's clone out of it.

        A clone that is complete is left as it is, an incomplete one is made again. A failure leaves nothing of it.

        Raises:
            InvalidInput: the URL is not allowed (any more), or a name is not usable.
            StepFailed: reason ``clone_failed``, ``clone_timeout``, ``oom``, ``disk_limit``, ``image_unavailable``,
                ``engine_error``; ``user`` where it was cancelled.
        """

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """The directory of a remote's mirror on this node, whether it was cloned already or not.

        Raises:
            InvalidInput: the URL is not allowed.
        """

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """The commit and branch of each clone, by name; read from files only (a millisecond each).

        Never raises for what a clone contains or lacks: `Head.problem` says what could not be read.
        """

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Record what a step left in one clone, after committing it where a message is given.

        Never raises for what the clone contains: `AfterState.problem` says what could not be recorded.
        """

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove a workspace's files and stores; nothing happens where there are none.

        Raises:
            StepFailed: reason ``engine_error``: it cannot be removed.
        """
