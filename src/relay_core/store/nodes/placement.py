"""Placement: the capacity that each node has promised to workspaces, and whether a step may start on a node.

To promise means to reserve the limits of a workspace (one place, its memory, its processes) while steps of it run.
"""

from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, select

from relay_core.domain.limits import Limits
from relay_core.domain.nodes import Capacity, Demand, Load, why_no_room
from relay_core.domain.vocabulary import ACTIVE, Liveness, NodeHealth
from relay_core.store.nodes.node_row import NodeRow
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode, Workspace
from relay_core.store.workspaces.condition import WorkspaceCondition

E, N, W = ExecutionProcess, RuntimeNode, Workspace

_PROMISED = E.status.in_(ACTIVE) & E.node_id.is_not(None)
"""SQL condition on executions for which a node has promised capacity.

They are running steps, and queued steps that continue a chain: the node of those is known and stays reserved.
"""


def loads(connection: Connection, *only: str) -> dict[str, Load]:
    """Return the capacity that nodes have promised, by node. A node that has promised nothing is left out.

    Args:
        connection: any transaction.
        only: ids of nodes; without any, all nodes.
    """
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
    """Return the capacity that one node has promised."""
    return loads(connection, node_id).get(node_id, Load(0, 0))


def why_refused(connection: Connection, node_id: str, workspace: WorkspaceCondition) -> str | None:
    """Return why a step of a workspace may not start on a node now; None if it may. Called in the claim's transaction.

    The node's row is locked until the end of the transaction, so of two claims the second sees the capacity that the
    first took. If the node has already promised capacity to the workspace (a step of it runs, or its chain is between
    two steps), nothing is checked.
    """
    if _has_room(connection, node_id, workspace.id):
        return None
    columns = (N.draining, N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id).with_for_update(key_share=True)).one()
    if workspace.node_id is None and node.draining:
        return "it is draining"
    capacity = Capacity(node.max_workspaces, node.memory_bytes, node.pids)
    return why_no_room(load_of(connection, node_id), capacity, _demand(workspace.limits))


def why_no_growth(connection: Connection, node_id: str, before: Limits, after: Limits) -> str | None:
    """Return why a node cannot give a workspace of its own other limits; None if it can.

    The node's row is locked until the end of the transaction, if the workspace needs more than it was promised.
    """
    mine, demand = _demand(before), _demand(after)
    if demand.memory_bytes <= mine.memory_bytes and demand.pids <= mine.pids:
        return None
    columns = (N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id).with_for_update(key_share=True)).one()
    all_of_it = load_of(connection, node_id)
    others = Load(all_of_it.workspaces - 1, all_of_it.memory_bytes - mine.memory_bytes, all_of_it.pids - mine.pids)
    return why_no_room(others, Capacity(node.max_workspaces, node.memory_bytes, node.pids), demand)


def why_closed(connection: Connection, node_id: str) -> str | None:
    """Return why a node takes no workspace with default limits at present; None if it does."""
    columns = (N.draining, N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id)).one()
    if node.draining:
        return "it is draining"
    capacity = Capacity(node.max_workspaces, node.memory_bytes, node.pids)
    return why_no_room(load_of(connection, node_id), capacity, _demand(Limits()))


def why_waits(connection: Connection, execution_id: UUID) -> str | None:
    """Return, as a text for people, why no worker can start a queued step that is first in its lane.

    None: a worker is about to take the step.
    """
    found = select(W).join(E, E.workspace_id == W.id).where(E.id == execution_id)
    workspace = WorkspaceCondition.from_row(connection.execute(found).mappings().one())
    if workspace.stopped:
        return "the workspace is stopped"
    own = workspace.node_id
    candidates = N.node_id == own if own is not None else N.pool == workspace.pool
    rows = connection.execute(select(N).where(candidates).order_by(N.node_id)).mappings()
    living = [node for row in rows if (node := NodeRow.from_row(row)).liveness is not Liveness.OFFLINE]
    if not living:
        return f"its node {own} is offline" if own else f"no node of the pool {workspace.pool} is online"
    whys = [_why_not_there(connection, node, workspace) for node in living]
    if None in whys:
        return None
    return f"no node has room ({'; '.join(dict.fromkeys(why for why in whys if why is not None))})"


def _why_not_there(connection: Connection, node: NodeRow, workspace: WorkspaceCondition) -> str | None:
    if _has_room(connection, node.node_id, workspace.id):
        return None
    if workspace.node_id is None and node.draining:
        return f"{node.node_id} is draining"
    if workspace.node_id is None and node.reported_health is NodeHealth.DISK_PRESSURE:
        return f"{node.node_id} is short of disk space"
    return why_no_room(load_of(connection, node.node_id), node.capacity, _demand(workspace.limits))


def _has_room(connection: Connection, node_id: str, workspace_id: UUID) -> bool:
    mine = select(E.id).where(E.workspace_id == workspace_id, _PROMISED, E.node_id == node_id).limit(1)
    return connection.scalar(mine) is not None


def _demand(limits: Limits) -> Demand:
    return Demand(int(limits.memory_bytes), int(limits.pids))


def _limit(name: str) -> ColumnElement[int]:
    return cast(W.limits[name].as_string(), BigInteger)
