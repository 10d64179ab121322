"""Kills: a queued execution ends immediately; for a running one the request is stored.

The owner of a running execution then kills its processes and writes its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import Status
from relay_core.store import events
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.executions.finish import end_queued
from relay_core.store.executions.locks import lock_executions
from relay_core.store.executions.notices import notify
from relay_core.store.schema.tables import ExecutionProcess
from relay_core.store.transaction import revoke_after_commit
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass(frozen=True)
class TaskExecution:
    """The execution that a Celery task runs, with its status."""

    task_id: UUID
    execution_id: UUID
    status: Status


def executions_of_tasks(connection: Connection, task_ids: Sequence[UUID]) -> list[TaskExecution]:
    """Return the executions behind Celery task ids; ids that Relay does not know are left out."""
    found = connection.execute(select(E.task_id, E.id, E.status).where(E.task_id.in_(task_ids)))
    return [TaskExecution(row.task_id, row.id, Status(row.status)) for row in found]


def kill(connection: Connection, ids: Sequence[UUID], by: str) -> int:
    """Request a kill of executions of one workspace. Those that run are revoked after the commit.

    The revoke lets their workers act immediately.

    Args:
        connection: one transaction of `Database`.
        ids: executions of one workspace.
        by: who asks; stored with the request.

    Returns:
        How many of them are running.

    Raises:
        NotFound: one of them does not exist.
    """
    if len(ids) > 1:
        lane.lock_of(connection, ids[0])
        lock_executions(connection, select(E.id).where(E.id.in_(ids)))
    rows = [request_kill(connection, execution_id, by) for execution_id in ids]
    running = [row.task_id for row in rows if row.status is Status.RUNNING]
    revoke_after_commit(connection, running)
    return len(running)


def request_kill(connection: Connection, execution_id: UUID, by: str) -> ExecutionRow:
    """Store the request to kill an execution; a queued execution ends immediately.

    Nothing is written if a kill was requested before, or if the execution has ended.

    Args:
        connection: one transaction of `Database`; messages of executions that may start now are sent after its commit.
        execution_id: the execution to kill.
        by: who asks; stored with the request.

    Returns:
        The execution as it was before the request.

    Raises:
        NotFound: there is no such execution.
    """
    lane.lock_of(connection, execution_id)
    locked = select(E).where(E.id == execution_id).with_for_update()
    found = connection.execute(locked).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no execution {execution_id}")
    row = ExecutionRow.from_row(found)
    if row.status is Status.QUEUED:
        end_queued(connection, execution_id, machine.cancelled(f"killed by {by} before it started"))
    elif row.status is Status.RUNNING and row.kill_requested_at is None:
        connection.execute(
            update(E).where(E.id == execution_id).values(kill_requested_at=func.now(), kill_requested_by=by)
        )
        events.append_to_execution(connection, execution_id, row.place, EventKind.EXECUTION_KILL_REQUESTED, {"by": by})
        notify(connection, [row.owner or ""])
    return row
