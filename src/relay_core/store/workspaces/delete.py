"""Deletion of workspaces: marks them as deleted and kills their executions.

Their node removes containers and files later.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import ACTIVE, Status
from relay_core.store import operations
from relay_core.store.executions.kill import kill
from relay_core.store.executions.locks import lock_executions
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane, stop_resume

E = ExecutionProcess


def delete_workspaces(connection: Connection, ids: Sequence[UUID], by: str) -> int:
    """Mark workspaces as deleted, and kill their queued and running executions.

    A workspace that is deleted already is left as it is. All rows are locked before the first write, lanes and
    executions each in the order of their ids. The renewal of leases locks in the same order, so the two cannot
    deadlock.

    Args:
        connection: one transaction of `Database`.
        ids: the workspaces.
        by: who deletes them; stored with the events and kills.

    Returns:
        How many running executions were asked to end.
    """
    for workspace_id in sorted(ids):
        lane.lock(connection, workspace_id)
    lock_executions(connection, select(E.id).where(E.workspace_id.in_(ids), E.status.in_(ACTIVE)))
    return sum(_delete(connection, workspace_id, by) for workspace_id in sorted(ids))


def _delete(connection: Connection, workspace_id: UUID, by: str) -> int:
    marked = connection.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
        .values(deleted_at=func.now(), requested_state=None, updated_at=func.now())
        .returning(Workspace.id)
    )
    if marked is None:
        return 0
    stop_resume.drop_request(connection, workspace_id, "the workspace was deleted")
    operation_id = operations.begin(connection, OperationKind.WORKSPACE_DELETE, operations.of_workspace(workspace_id))
    if operation_id is not None:
        over = not on_a_node(connection, workspace_id)
        operations.append(connection, operation_id, EventKind.WORKSPACE_DELETED, {"by": by}, terminal=over)
    # The last in the queue is killed first, or the end of a step would start another that is to be killed.
    active = select(E.id).where(E.workspace_id == workspace_id, E.status.in_(ACTIVE)).order_by(E.lane_position.desc())
    return kill(connection, list(connection.scalars(active)), by)


def on_a_node(connection: Connection, workspace_id: UUID) -> bool:
    """Return whether a node has, or may soon have, files of the workspace, and will record their removal."""
    running = select(E.id).where(E.workspace_id == workspace_id, E.status == Status.RUNNING).exists()
    there = select(Workspace.container_ref.is_not(None) | running).where(Workspace.id == workspace_id)
    return bool(connection.scalar(there))
