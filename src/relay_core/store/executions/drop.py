"""Marks executions as dropped: those whose changes a workspace has left by going back to its state before them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Select, select, tuple_, update

from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import RunReason
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess

E = ExecutionProcess


def to_drop(connection: Connection, workspace_id: UUID, execution_id: UUID) -> Sequence[UUID]:
    """Return the execution and all that came after it in the lane, without those that are dropped already."""
    return connection.scalars(_from(workspace_id, execution_id).order_by(E.created_at, E.id)).all()


def drop(connection: Connection, workspace_id: UUID, execution_id: UUID, by: UUID) -> None:
    """Mark an execution and the later ones before a reset as dropped, with an event; the caller ends the reset.

    What was queued after the reset runs on the state to which it went back, so it is not dropped.

    Args:
        connection: the transaction that ends the reset. It holds the lane.
        workspace_id: the workspace.
        execution_id: the first execution to drop.
        by: the reset, which stays.
    """
    reset = select(E.lane_position).where(E.id == by).scalar_subquery()
    before = _from(workspace_id, execution_id).where(E.lane_position < reset)
    ids = connection.scalars(before.order_by(E.created_at, E.id)).all()
    connection.execute(update(E).where(E.id.in_(ids)).values(dropped=True))
    payload = {"execution_id": str(execution_id), "executions": [str(one) for one in ids]}
    events.append(connection, workspace_id, EventKind.WORKSPACE_EXECUTIONS_DROPPED, payload)


def _from(workspace_id: UUID, execution_id: UUID) -> Select[UUID]:
    place = select(E.lane_position).where(E.id == execution_id).scalar_subquery()
    made = select(E.created_at).where(E.id == execution_id).scalar_subquery()
    later = tuple_(E.lane_position, E.created_at) >= tuple_(place, made)
    return select(E.id).where(
        E.workspace_id == workspace_id, E.run_reason != RunReason.DEV_SERVER, E.dropped.is_(False), later
    )
