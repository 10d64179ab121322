"""The port `Git`: the clones of a workspace are made, read, recorded and removed through it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from relay_workers.git.sandbox.after_state import AfterState, AfterStateRequest
from relay_workers.git.sandbox.head_reader import Head
from relay_workers.git.sandbox.make_clone import CloneRequest, CloneResult

__all__ = ["AfterState", "AfterStateRequest", "CloneRequest", "CloneResult", "Git", "Head"]


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
