"""The workspaces that a node should hold according to Postgres.

The divergence sweep, a periodic check by workers, compares them with the containers and files that the node has.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from relay_core.domain.vocabulary import FINAL, Status, WorkspaceState
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass(frozen=True)
class NodeWorkspace:
    """A workspace that was placed on the node, as its row describes it."""

    id: UUID
    state: WorkspaceState
    container_id: str | None
    deleted: bool
    asked: bool
    """Whether a stop or a resume was requested that the node has not carried out yet."""
    there: bool
    """Whether its files and its container exist on the node, according to the row."""
    busy: bool
    """Whether an execution of the workspace is queued or running."""

    @property
    def live(self) -> bool:
        """Whether the container and the files are still needed."""
        return self.busy or not (self.deleted or self.state is WorkspaceState.FAILED)


def workspaces_of(connection: Connection, node_id: str, named: Collection[UUID]) -> dict[UUID, NodeWorkspace]:
    """Return some of the node's workspaces, by id.

    They are those that run, those that are deleted but still have files, and those whose id is in ``named``. The others
    that the node ever had are left out, as their number only grows.
    """
    w = Workspace
    there = w.container_ref.is_not(None) & (w.deleted_at.is_not(None) | (w.state == WorkspaceState.RUNNING))
    return _workspaces(connection, node_id, there | w.id.in_(named))


def workspace_of(connection: Connection, node_id: str, workspace_id: UUID) -> NodeWorkspace | None:
    """Return one workspace of the node in any state; None if the node has no such workspace."""
    return _workspaces(connection, node_id, Workspace.id == workspace_id).get(workspace_id)


def _workspaces(connection: Connection, node_id: str, which: ColumnElement[bool]) -> dict[UUID, NodeWorkspace]:
    active = E.status.in_([Status.QUEUED, Status.RUNNING])
    busy = select(E.id).where(E.workspace_id == Workspace.id, active).exists()
    w = Workspace
    columns = (w.id, w.state, w.container_id, w.deleted_at, w.requested_state, w.container_ref, busy.label("busy"))
    rows = connection.execute(select(*columns).where(w.node_id == node_id, which))
    return {
        row.id: NodeWorkspace(
            row.id,
            WorkspaceState(row.state),
            row.container_id,
            deleted=row.deleted_at is not None,
            asked=row.requested_state is not None,
            there=row.container_ref is not None,
            busy=row.busy,
        )
        for row in rows
    }


def is_still(connection: Connection, found: NodeWorkspace, node_id: str) -> bool:
    """Return whether a workspace is unchanged since it was read as ``found``.

    This locks the workspace's lane, so the answer stays true until the transaction ends.
    """
    lane.lock(connection, found.id)
    return workspace_of(connection, node_id, found.id) == found


def finished(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Return those of the executions that have ended and have left no process that may still run.

    Their files do not change any more.
    """
    ended = select(E.id).where(E.id.in_(ids), E.status.in_(FINAL), E.leftover_on.is_(None))
    return set(connection.scalars(ended))
