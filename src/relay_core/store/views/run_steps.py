"""The steps of one run, and its events, for readers that follow the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.vocabulary import FINAL, RunReason, RunStatus
from relay_core.store.events import EventRow, of_run
from relay_core.store.schema.tables import ExecutionProcess, Run, Workspace

E = ExecutionProcess


@dataclass(frozen=True)
class StepName:
    """One execution of a run, with the words that name its step."""

    execution_id: UUID
    run_reason: RunReason
    repo: str | None
    group_id: UUID
    """Its step group: steps of one group run at the same time."""
    ended: bool


@dataclass(frozen=True)
class RunProgress:
    """How far a run has got. If it is completed, `steps` has all of its executions."""

    workspace_id: UUID
    completed: bool
    event_cursor: int
    """Cursor of the workspace's newest event, read before the steps."""
    steps: Sequence[StepName]


@dataclass(frozen=True)
class RunEvents:
    """A page of a run's events.

    Attributes:
        last: whether the run is completed and has no further events.
        cursor: cursor of the workspace up to which events were looked for.
    """

    events: Sequence[EventRow]
    workspace_id: UUID
    cursor: int
    last: bool


def progress_of(connection: Connection, run_id: UUID) -> RunProgress:
    """Return how far a run that exists has got."""
    workspace_id, completed, cursor = _head(connection, run_id)
    repo = E.executor_action[("step", "repo")].as_string().label("repo")
    columns = (E.id, E.run_reason, repo, E.group_id, E.status)
    steps = select(*columns).where(E.run_id == run_id).order_by(E.created_at, E.id)
    found = [
        StepName(row.id, RunReason(row.run_reason), row.repo, row.group_id, row.status in FINAL)
        for row in connection.execute(steps)
    ]
    return RunProgress(workspace_id, completed, cursor, found)


def events_of(connection: Connection, run_id: UUID, after: int, limit: int) -> RunEvents:
    """Return the events of the executions of a run that exists, after a cursor of its workspace."""
    workspace_id, completed, cursor = _head(connection, run_id)
    rows = of_run(connection, workspace_id, run_id, after, limit)
    if len(rows) == limit:
        return RunEvents(rows, workspace_id, rows[-1].cursor or after, last=False)
    seen = max(after, cursor, *(row.cursor or 0 for row in rows[-1:]))
    return RunEvents(rows, workspace_id, seen, completed)


def _head(connection: Connection, run_id: UUID) -> tuple[UUID, bool, int]:
    """Return workspace, whether the run is completed, and the workspace's cursor.

    Read first: what is read afterwards has at least all that was committed by then.
    """
    statement = select(Run.workspace_id, Run.status, Workspace.event_seq).join(
        Workspace, Workspace.id == Run.workspace_id
    )
    row = connection.execute(statement.where(Run.id == run_id)).one()
    return row.workspace_id, row.status == RunStatus.COMPLETED, row.event_seq
