"""The workspaces that a node should hold according to Postgres.

The divergence sweep, a periodic check by workers, compares them with the containers and files that the node has.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, String, Uuid, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from relay_core.domain.vocabulary import ACTIVE, Status, WorkspaceState
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
    kept: bool = False
    """Whether it is deleted and its files are in quarantine, so that it needs no container."""

    @property
    def live(self) -> bool:
        """Whether the container and the files are still needed."""
        return self.busy or not (self.deleted or self.state is WorkspaceState.FAILED)


@dataclass(frozen=True)
class Differing:
    """The workspaces of a node whose rows differ from the containers that it has, or from its files."""

    unneeded: Mapping[UUID, NodeWorkspace | None]
    """Those that need none of their containers any more, by id; None: the node has no such workspace."""
    missing: Sequence[NodeWorkspace]
    """Those that run, have nothing to do, and have no container."""
    deleted: Sequence[NodeWorkspace]
    """Those that are deleted and have nothing to do, but whose files or container are still there."""


_BUSY = "EXISTS (SELECT 1 FROM execution_processes e WHERE e.workspace_id = w.id AND e.status IN ('queued', 'running'))"
_IDLE = (
    "w.node_id = :node AND w.container_ref IS NOT NULL AND w.state = 'running' AND w.deleted_at IS NULL "
    f"AND w.requested_state IS NULL AND NOT {_BUSY}"
)
_COLUMNS = "w.state, w.container_id, w.deleted_at, w.requested_state, w.container_ref, w.quarantine, false AS busy"
_DIFFERING = text(
    f"""
    WITH named AS (SELECT DISTINCT id FROM unnest(:named) AS id),
      present AS (SELECT DISTINCT id FROM unnest(:present) AS id)
    SELECT 'unneeded' AS kind, n.id, {_COLUMNS}
    FROM named n LEFT JOIN workspaces w ON w.id = n.id AND w.node_id = :node
    WHERE w.id IS NULL OR ((w.deleted_at IS NOT NULL OR w.state = 'failed') AND NOT {_BUSY})
    UNION ALL
    SELECT 'missing', w.id, {_COLUMNS} FROM workspaces w
    WHERE {_IDLE} AND NOT EXISTS (SELECT 1 FROM present p WHERE p.id = w.container_id)
    UNION ALL
    SELECT 'deleted', w.id, {_COLUMNS} FROM workspaces w
    WHERE w.node_id = :node AND w.container_ref IS NOT NULL AND w.deleted_at IS NOT NULL
      AND w.quarantine IS NULL AND NOT {_BUSY}
    """  # noqa: S608 - nothing of a client's
).bindparams(bindparam("named", type_=ARRAY(Uuid())), bindparam("present", type_=ARRAY(String())))
_IDLE_COUNT = text(f"SELECT count(*) FROM workspaces w WHERE {_IDLE}")  # noqa: S608 - nothing of a client's
_FINISHED = text(
    "SELECT e.id FROM execution_processes e "
    "WHERE e.id = ANY(:ids) AND e.status <> ALL(:active) AND e.leftover_on IS NULL"
).bindparams(bindparam("ids", type_=ARRAY(Uuid())), bindparam("active", type_=ARRAY(String())))


def differing(connection: Connection, node_id: str, containers: Mapping[str, UUID]) -> Differing:
    """Return the workspaces of a node that differ from its containers or files; usually there are none.

    Postgres compares, so that the worker reads no row of the many workspaces that do not differ.

    Args:
        connection: any transaction.
        node_id: the node.
        containers: the containers that the node has, with the workspace that each names.
    """
    values = {"node": node_id, "named": list(set(containers.values())), "present": list(containers)}
    found = connection.execute(_DIFFERING, values).all()
    return Differing(
        {row.id: None if row.state is None else _workspace(row) for row in found if row.kind == "unneeded"},
        [_workspace(row) for row in found if row.kind == "missing"],
        [_workspace(row) for row in found if row.kind == "deleted"],
    )


def idle_count(connection: Connection, node_id: str) -> int:
    """Return how many workspaces of the node run and have nothing to do."""
    return int(connection.scalar(_IDLE_COUNT, {"node": node_id}) or 0)


def workspace_of(connection: Connection, node_id: str, workspace_id: UUID) -> NodeWorkspace | None:
    """Return one workspace of the node in any state; None if the node has no such workspace."""
    active = E.status.in_([Status.QUEUED, Status.RUNNING])
    busy = select(E.id).where(E.workspace_id == Workspace.id, active).exists()
    w = Workspace
    of_row = (w.id, w.state, w.container_id, w.deleted_at, w.requested_state, w.container_ref, w.quarantine)
    columns = (*of_row, busy.label("busy"))
    row = connection.execute(select(*columns).where(w.node_id == node_id, w.id == workspace_id)).one_or_none()
    return None if row is None else _workspace(row)


def _workspace(row: Row[*tuple[Any, ...]]) -> NodeWorkspace:
    return NodeWorkspace(
        row.id,
        WorkspaceState(row.state),
        row.container_id,
        deleted=row.deleted_at is not None,
        asked=row.requested_state is not None,
        there=row.container_ref is not None,
        busy=row.busy,
        kept=row.quarantine is not None,
    )


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
    return set(connection.scalars(_FINISHED, {"ids": list(ids), "active": list(ACTIVE)})) if ids else set()
