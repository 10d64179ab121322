"""Placement: the capacity that each node has promised to workspaces, and whether a step may start on a node.

To promise means to reserve the limits of a workspace (one place, its memory, its processes) while steps of it run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Connection, Float, bindparam, cast, func, select
from sqlalchemy.orm import aliased

from relay_core.domain import attachment
from relay_core.domain.attachment import Shut, Slot
from relay_core.domain.errors import InvalidInput
from relay_core.domain.limits import Limits
from relay_core.domain.nodes import Capacity, Demand, Load, closed_by_operator, why_no_room
from relay_core.domain.vocabulary import ACTIVE, Liveness, NodeHealth, RunReason
from relay_core.store.nodes import attachments
from relay_core.store.nodes.node_row import NodeRow
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode, Workspace
from relay_core.store.workspaces.condition import WorkspaceCondition

E, N, W = ExecutionProcess, RuntimeNode, Workspace
STOPPED = "the workspace is stopped"
DIVERGED = "a clone of the workspace is not as it was recorded; acknowledge it (GET …/git-state), then this goes on"

_UNWELL = {
    NodeHealth.DISK_PRESSURE: "it is short of disk space",
    NodeHealth.DISK_UNAVAILABLE: "the disk of its data directory does not answer",
    NodeHealth.ENGINE_UNAVAILABLE: "its container engine does not answer",
    NodeHealth.IMPAIRED: "it says that it is degraded",
}
"""Why a node of such a health takes no new workspace."""
_UNWELL_NODE = {
    NodeHealth.DISK_PRESSURE: "{} is short of disk space",
    NodeHealth.DISK_UNAVAILABLE: "the disk of {} does not answer",
    NodeHealth.IMPAIRED: "{} says that it is degraded",
}
"""The same with the name of the node, for the reason why a step waits."""

_PROMISED = E.status.in_(ACTIVE) & E.node_id.is_not(None)
"""SQL condition on executions for which a node has promised capacity.

They are running steps, and queued steps that continue a chain: the node of those is known and stays reserved.
"""


def _limit(name: str) -> ColumnElement[int]:
    return cast(W.limits[name].as_string(), BigInteger)


# Built once: building such a statement costs more than carrying it out.
_HELD = (
    select(E.node_id, E.workspace_id)
    .where(_PROMISED)
    .union(select(E.leftover_on, E.workspace_id).where(E.leftover_on.is_not(None)))  # processes that may still run
    .subquery()
)
_LOADS = (
    select(
        _HELD.c.node_id,
        func.count(),
        *(func.coalesce(func.sum(_limit(name)), 0) for name in ("memory_bytes", "pids")),
    )
    .join(W, W.id == _HELD.c.workspace_id)
    .group_by(_HELD.c.node_id)
)
_LOADS_OF = _LOADS.where(_HELD.c.node_id.in_(bindparam("only", expanding=True)))
_NODES = select(N).order_by(N.node_id)
_AT_WORK = aliased(E)
_RESERVED = (
    select(_AT_WORK.id)
    .where(_AT_WORK.status.in_(ACTIVE), _AT_WORK.node_id == W.node_id, _AT_WORK.workspace_id == W.id)
    .exists()
)
_WAITING = (
    select(W, E.id.label("execution_id"), E.run_reason, _RESERVED.label("reserved"))
    .join(E, E.workspace_id == W.id)
    .where(E.id.in_(bindparam("ids", expanding=True)))
)


def loads(connection: Connection, *only: str) -> dict[str, Load]:
    """Return the capacity that nodes have promised, by node. A node that has promised nothing is left out.

    Args:
        connection: any transaction.
        only: ids of nodes; without any, all nodes.
    """
    rows = connection.execute(_LOADS_OF, {"only": only}) if only else connection.execute(_LOADS)
    return {node_id: Load(*(int(number) for number in numbers)) for node_id, *numbers in rows}


def load_of(connection: Connection, node_id: str) -> Load:
    """Return the capacity that one node has promised."""
    return loads(connection, node_id).get(node_id, Load(0, 0))


def why_full(load: Load, capacity: Capacity, workspace: WorkspaceCondition) -> str:
    """Return why a node had no room for a step of a workspace, from what the claim found (`claim_statements.Full`)."""
    return why_no_room(load, capacity, _demand(workspace.limits)) or "it has none"


def why_shut(connection: Connection, node_id: str, *, new: bool) -> Shut | None:
    """Return why an operator, or the node's attachment, keeps it from starting a step; None if neither does.

    The node is neither revoked nor detached before the end of the transaction, if it is not already.

    Args:
        connection: one transaction.
        node_id: the node.
        new: whether the step is the first one of a workspace that is on no node yet, or the clone of a project.
    """
    columns = (N.draining, N.revoked_at)
    found = select(*columns).where(N.node_id == node_id).with_for_update(read=True, key_share=True)
    row = connection.execute(found).one()
    word = closed_by_operator(draining=row.draining, revoked=row.revoked_at is not None)
    if word and (new or word == "revoked"):
        return Shut(f"it is {word}")
    return attachment.why_shut(attachments.slot_of(connection, node_id), new=new)


def is_revoked(connection: Connection, node_id: str) -> bool:
    """Return whether a node is revoked. If it is not, it is not revoked before the end of the transaction either."""
    found = select(N.revoked_at).where(N.node_id == node_id).with_for_update(read=True, key_share=True)
    return connection.scalar(found) is not None


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


def why_no_new(node: NodeRow, load: Load, slot: Slot | None) -> str | None:
    """Return why a node with this load and attachment takes no new workspace with default limits; None if it does."""
    if node.closed_by_operator:
        return f"it is {node.closed_by_operator}"
    if shut := attachment.why_shut(slot, new=True):
        return shut.why
    if node.reported_health in _UNWELL:
        return _UNWELL[node.reported_health]
    return why_no_room(load, node.capacity, _demand(Limits()))


def check_cpus(connection: Connection, pool: str, cpus: float) -> None:
    """Raise an error if every node of a pool has fewer processors than a request asks for.

    Nodes that are offline count, as they may return. If no node is known, nothing is checked.

    Raises:
        InvalidInput: `limit_too_large`.
    """
    processors = cast(N.capabilities["cpus"].as_string(), Float)
    most = connection.scalar(select(func.max(processors)).where(N.pool == pool))
    if most is not None and cpus > most:
        message = f"limits.cpus is {cpus:g}; the largest node of the pool {pool} has {most:g} processors"
        raise InvalidInput(message, code="limit_too_large", field="limits.cpus")


def why_closed(connection: Connection, node_id: str) -> str | None:
    """Return why a node takes no workspace with default limits at present; None if it does."""
    columns = (N.draining, N.revoked_at, N.max_workspaces, N.memory_bytes, N.pids)
    node = connection.execute(select(*columns).where(N.node_id == node_id)).one()
    if word := closed_by_operator(draining=node.draining, revoked=node.revoked_at is not None):
        return f"it is {word}"
    if shut := attachment.why_shut(attachments.slot_of(connection, node_id), new=True):
        return shut.why
    capacity = Capacity(node.max_workspaces, node.memory_bytes, node.pids)
    return why_no_room(load_of(connection, node_id), capacity, _demand(Limits()))


def why_each_waits(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    """Return, as texts for people, why no worker can start queued steps that are first in their lanes, by id.

    None: a worker is about to take the step.
    """
    if not execution_ids:
        return {}
    nodes = [NodeRow.from_row(row) for row in connection.execute(_NODES).mappings()]
    living = [node for node in nodes if node.liveness is not Liveness.OFFLINE]
    slots = {
        node_id: found[0].slot
        for node_id, found in attachments.all_by_node(connection).items()
        if found[0].state.active
    }
    fleet = _Fleet(living, loads(connection), slots)
    rows = connection.execute(_WAITING, {"ids": execution_ids}).mappings()
    found = {}
    for row in rows:
        workspace = WorkspaceCondition.from_row(row)
        held = workspace.diverged and not workspace.stopped and RunReason(row["run_reason"]).operation_class.mutates
        found[row["execution_id"]] = DIVERGED if held else fleet.why(workspace, row["reserved"])
    return found


@dataclass(frozen=True)
class _Fleet:
    """The living nodes with what they have promised, read once for many decisions."""

    living: Sequence[NodeRow]
    loads: Mapping[str, Load]
    slots: Mapping[str, Slot]
    """The active attachments by node."""

    def why(self, workspace: WorkspaceCondition, reserved: bool) -> str | None:  # noqa: FBT001
        """Return why no node can start a step of a workspace.

        Args:
            workspace: the workspace.
            reserved: whether its node has promised capacity to it already.
        """
        if workspace.stopped:
            return STOPPED
        own = workspace.node_id
        nodes = [node for node in self.living if (node.node_id == own if own else node.pool == workspace.pool)]
        if not nodes:
            return f"its node {own} is offline" if own else f"no node of the pool {workspace.pool} is online"
        if own and (why := self._why_own_starts_nothing(nodes[0])):
            return why
        if reserved:
            return None
        whys = [self._why_not_there(node, workspace) for node in nodes]
        if None in whys:
            return None
        return f"no node has room ({'; '.join(dict.fromkeys(why for why in whys if why is not None))})"

    def _why_own_starts_nothing(self, node: NodeRow) -> str | None:
        if node.revoked_at is not None:
            return f"its node {node.node_id} is revoked"
        shut = attachment.why_shut(self.slots.get(node.node_id), new=False)
        return None if shut is None else f"its node {node.node_id} starts nothing: {shut.why}"

    def _why_not_there(self, node: NodeRow, workspace: WorkspaceCondition) -> str | None:
        if workspace.node_id is None and (why := self._why_nothing_new(node)):
            return why
        if workspace.begins and node.reported_health in _UNWELL_NODE:
            return _UNWELL_NODE[node.reported_health].format(node.node_id)
        return why_no_room(self.loads.get(node.node_id, Load(0, 0)), node.capacity, _demand(workspace.limits))

    def _why_nothing_new(self, node: NodeRow) -> str | None:
        if node.closed_by_operator:
            return f"{node.node_id} is {node.closed_by_operator}"
        if shut := attachment.why_shut(self.slots.get(node.node_id), new=True):
            return f"{node.node_id} starts nothing new: {shut.why}"
        unwell = _UNWELL_NODE.get(node.reported_health)
        return unwell and unwell.format(node.node_id)


def _demand(limits: Limits) -> Demand:
    return Demand(int(limits.memory_bytes), int(limits.pids))
