"""Deleting: the mark, and the end of what runs. Containers and files are removed later, by their node."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain.doorbell import Ring, task_id
from relay_core.domain.vocabulary import ACTIVE, Status
from relay_core.postgres import events, lane, lifecycle
from relay_core.postgres.tables import ExecutionProcess, Workspace

E = ExecutionProcess


@dataclass
class Killed:
    """What is due after the commit of one or several kills."""

    rings: list[Ring] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)
    """Tasks of running executions, to tell their workers at once."""


def kill(connection: Connection, ids: Sequence[UUID], by: str) -> Killed:
    """Ask for the end of executions, all in the caller's transaction."""
    due = Killed()
    for execution_id in ids:
        asked = lifecycle.request_kill(connection, execution_id, by)
        due.rings += asked.rings
        if asked.status is Status.RUNNING:
            due.task_ids.append(task_id(execution_id, asked.attempt))
    return due


def delete_workspace(connection: Connection, workspace_id: UUID, by: str) -> Killed:
    """Mark a workspace as deleted and kill what it has queued and running; doing so again changes nothing."""
    lane.lock(connection, workspace_id)
    marked = connection.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
        .values(deleted_at=func.now(), requested_state=None, updated_at=func.now())
        .returning(Workspace.id)
    )
    if marked is None:
        return Killed()
    events.append(connection, workspace_id, "workspace.deleted", {"by": by})
    # The last in the queue first: so no step is rung that is about to be killed.
    active = select(E.id).where(E.workspace_id == workspace_id, E.status.in_(ACTIVE)).order_by(E.lane_position.desc())
    due = kill(connection, list(connection.scalars(active)), by)
    return Killed([], due.task_ids)
