"""The status of a merge, which follows from what is stored about it, and the message of its commit."""

from typing import Final
from uuid import UUID

from relay_core.domain.vocabulary import ACTIVE, MergeStatus, Status

M = MergeStatus
TRANSITIONS: Final = frozenset(
    {
        (M.PENDING, M.MERGED),
        (M.PENDING, M.OPEN),
        (M.PENDING, M.FAILED),
        (M.FAILED, M.PENDING),
        (M.OPEN, M.MERGED),
        (M.OPEN, M.CLOSED),
        (M.CLOSED, M.OPEN),
    }
)
"""The edges of the drawing in docs/merging.md. A retry leads back from `failed`, a reopened one from `closed`."""
SUBJECT_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 3000


def status_of(*, merged: bool, pr_status: str | None, execution: str | None) -> MergeStatus:
    """Return the status of a merge.

    Args:
        merged: whether the target branch has the work of a direct merge.
        pr_status: what the host of the pull request last said; None without a pull request.
        execution: status of the execution that carries the merge out; None if there is none.
    """
    if pr_status is not None:
        return MergeStatus(pr_status)
    if merged:
        return M.MERGED
    return M.PENDING if execution is not None and Status(execution) in ACTIVE else M.FAILED


def message_of(title: str, description: str | None, workspace_id: UUID) -> str:
    """Return the message of a merge's commit: the task's title with the workspace's short id, and the text."""
    subject = " ".join(title.split())[:SUBJECT_CHARACTERS] or "Changes of a workspace"
    text = (description or "").strip()[:DESCRIPTION_CHARACTERS]
    first = f"{subject} (relay {str(workspace_id)[:8]})"
    return f"{first}\n\n{text}\n" if text else f"{first}\n"
