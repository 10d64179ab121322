"""Tasks: the moves between their statuses, and the prompt of the first turn of an attempt (docs/tasks.md)."""

from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import TaskStatus

T = TaskStatus
MOVED_BY_EXECUTION = frozenset(
    {
        (T.TODO, T.INPROGRESS),
        (T.INREVIEW, T.INPROGRESS),
        (T.INPROGRESS, T.INREVIEW),
        (T.TODO, T.INREVIEW),
    }
)
"""Moves by the start of a step (to `inprogress`) and by the end of a chain (to `inreview`, also if nothing started).

Nothing that runs moves a task away from `done` or `cancelled`.
"""
MOVED_BY_MERGE = frozenset((source, T.DONE) for source in (T.TODO, T.INPROGRESS, T.INREVIEW))
"""Moves by a merge of one of the task's workspaces."""
BY_HAND = (T.TODO, T.DONE, T.CANCELLED)
"""Statuses that a person may set, from every other one."""
MOVED_BY_HAND = frozenset((source, target) for source in T for target in BY_HAND if source is not target)


def check_by_hand(status: TaskStatus, field: str = "status") -> None:
    """Raise an error if a person may not set this status.

    Raises:
        InvalidInput: `status_not_by_hand`.
    """
    if status not in BY_HAND:
        message = f"{status} follows from the steps of the task's workspaces; set todo, done or cancelled"
        raise InvalidInput(message, code="status_not_by_hand", field=field)


def prompt_of(title: str, description: str | None) -> str:
    """Return the prompt of an attempt that is given none: the title, a blank line and the description."""
    text = (description or "").strip()
    return f"{title}\n\n{text}" if text else title
