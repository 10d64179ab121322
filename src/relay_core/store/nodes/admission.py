"""Room on nodes: what each has promised, and whether one more workspace may start there."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Connection, RowMapping, cast, func, select

from relay_core.domain.limits import Limits
from relay_core.domain.nodes import Capacity, Demand, Load, why_no_room
from relay_core.domain.vocabulary import ACTIVE, Liveness, NodeHealth, WorkspaceState
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode, Workspace

E, N, W = ExecutionProcess, RuntimeNode, Workspace

_PROMISED = E.status.in_(ACTIVE) & E.node_id.is_not(None)
"""A running step, and a queued one that goes on with a chain: its node is known, and keeps the room."""


def loads(connection: Connection, *only: str) -> dict[str, Load]:
    """What nodes have promised, all of them or ``only`` some; one that has promised nothing is left out."""
    at_work = select(E.node_id, E.workspace_id).where(_PROMISED)
    left = select(E.leftover_on, E.workspace_id).where(E.leftover_on.is_not(None))  # processes that may still run
    held = at_work.union(left).subquery()
    memory, pids = (func.coalesce(func.sum(_limit(name)), 0) for name in ("memory_bytes", "pids"))
    statement = select(held.c.node_id, func.count(), memory, pids).join(W, W.id == held.c.workspace_id)
    if only:
        statement = statement.where(held.c.node_id.in_(only))
    rows = connection.execute(statement.group_by(held.c.node_id))
    return {node_id: Load(*(int(number) for number in numbers)) for node_id, *numbers in rows}


def load_of(connection: Connection, node_id: str) -> Load:
    """What one node has promised."""
    return loads(connection, node_id).get(node_id, Load(0, 0))


def why_refused(connection: Connection, node_id: str, workspace: RowMapping) -> str | None:
    """Why a step of a workspace may not start on a node now, or None; to be asked by the claim, in its transaction.

    The node's row stays locked until the end of the transaction: of two claims the second one sees what the first one
    took. A workspace that has room already (something of it runs, or its chain is between two steps) is not asked.
    """
    if _has_room(connection, node_id, workspace["id"]):
        return None
    columns = (N.draining, N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id).with_for_update(key_share=True)).one()
    if workspace["node_id"] is None and node.draining:
        return "it is draining"
    capacity = Capacity(node.max_workspaces, node.memory_bytes, node.pids)
    return why_no_room(load_of(connection, node_id), capacity, _demand(workspace["limits"]))


def why_closed(connection: Connection, node_id: str) -> str | None:
    """Why a node takes no workspace of the usual size at present, or None."""
    columns = (N.draining, N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id)).one()
    if node.draining:
        return "it is draining"
    capacity = Capacity(node.max_workspaces, node.memory_bytes, node.pids)
    return why_no_room(load_of(connection, node_id), capacity, _demand({}))


def why_waits(connection: Connection, execution_id: UUID) -> str | None:
    """What keeps a queued step from starting beside its own lane, for people; None: a worker is about to take it."""
    columns = (W.id, W.node_id, W.pool, W.limits, W.state, W.requested_state, E.node_id.label("kept_on"))
    found = select(*columns).join(E, E.workspace_id == W.id).where(E.id == execution_id)
    workspace = connection.execute(found).mappings().one()
    if workspace["requested_state"] is not None or workspace["state"] == WorkspaceState.STOPPED:
        return "the workspace is stopped"
    own = workspace["node_id"]
    candidates = N.node_id == own if own is not None else N.pool == workspace["pool"]
    nodes = connection.execute(select(N).where(candidates).order_by(N.node_id)).mappings().all()
    living = [node for node in nodes if node["liveness"] != Liveness.OFFLINE]
    if not living:
        return f"its node {own} is offline" if own else f"no node of the pool {workspace['pool']} is online"
    whys = [_why_not_there(connection, node, workspace) for node in living]
    if None in whys:
        return None
    return f"no node has room ({'; '.join(dict.fromkeys(why for why in whys if why is not None))})"


def _why_not_there(connection: Connection, node: RowMapping, workspace: RowMapping) -> str | None:
    if _has_room(connection, node["node_id"], workspace["id"]):
        return None
    if workspace["node_id"] is None and node["draining"]:
        return f"{node['node_id']} is draining"
    if workspace["node_id"] is None and node["reported_health"] == NodeHealth.DISK_PRESSURE:
        return f"{node['node_id']} is short of disk space"
    capacity = Capacity(node["max_workspaces"], node["memory_bytes"], node["pids"])
    return why_no_room(load_of(connection, node["node_id"]), capacity, _demand(workspace["limits"]))


def _has_room(connection: Connection, node_id: str, workspace_id: UUID) -> bool:
    mine = select(E.id).where(E.workspace_id == workspace_id, _PROMISED, E.node_id == node_id).limit(1)
    return connection.scalar(mine) is not None


def _demand(limits: dict[str, Any]) -> Demand:
    """Of stored limits; what they do not say is the default."""
    found = Limits.from_row(limits)
    return Demand(int(found.memory_bytes), int(found.pids))


def _limit(name: str) -> ColumnElement[int]:
    return cast(W.limits[name].as_string(), BigInteger)
