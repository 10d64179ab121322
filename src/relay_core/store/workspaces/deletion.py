"""Deleting: the mark, and the end of what runs. Containers and files are removed later, by their node."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.vocabulary import ACTIVE, Status
from relay_core.store import events
from relay_core.store.executions import lifecycle, transitions
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass
class Killed:
    """What is due after the commit of one or several kills."""

    messages: list[QueueMessage] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)
    """Tasks of running executions, to tell their workers at once."""


def kill(connection: Connection, ids: Sequence[UUID], by: str) -> Killed:
    """Ask for the end of executions, all in the caller's transaction; several must be of one workspace."""
    if len(ids) > 1:
        lane.lock(connection, connection.execute(select(E.workspace_id).where(E.id == ids[0])).scalar_one())
        transitions.lock(connection, select(E.id).where(E.id.in_(ids)))
    due = Killed()
    for execution_id in ids:
        asked = lifecycle.request_kill(connection, execution_id, by)
        due.messages += asked.messages
        if asked.status is Status.RUNNING:
            due.task_ids.append(task_id(execution_id, asked.attempt))
    return due


def delete_workspaces(connection: Connection, ids: Sequence[UUID], by: str) -> Killed:
    """Mark workspaces as deleted and kill what they have queued and running; doing so again changes nothing.

    All rows are locked before the first write, lanes and executions by their ids: so does the renewal of leases.
    """
    for workspace_id in sorted(ids):
        lane.lock(connection, workspace_id)
    transitions.lock(connection, select(E.id).where(E.workspace_id.in_(ids), E.status.in_(ACTIVE)))
    due = Killed()
    for workspace_id in sorted(ids):
        due.task_ids += _delete(connection, workspace_id, by)
    return due


def _delete(connection: Connection, workspace_id: UUID, by: str) -> list[str]:
    marked = connection.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
        .values(deleted_at=func.now(), requested_state=None, updated_at=func.now())
        .returning(Workspace.id)
    )
    if marked is None:
        return []
    events.append(connection, workspace_id, EventKind.WORKSPACE_DELETED, {"by": by})
    # The last in the queue first: so no step is rung that is about to be killed.
    active = select(E.id).where(E.workspace_id == workspace_id, E.status.in_(ACTIVE)).order_by(E.lane_position.desc())
    return kill(connection, list(connection.scalars(active)), by).task_ids
