"""Nodes: registration, heartbeats, liveness and draining. All times are on the clock of Postgres."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from relay_core.domain import nodes
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.nodes import OUTAGE_SECONDS, Bounds, Capacity, Load, WorkerSlots, worker_slots
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store import operations
from relay_core.store.advisory_lock import try_sweep_lock
from relay_core.store.nodes import attachments, placement
from relay_core.store.nodes.attachments import Attachment
from relay_core.store.nodes.node_row import NodeRow
from relay_core.store.nodes.slots import told_slots, used_slots
from relay_core.store.schema.tables import RuntimeNode
from relay_core.store.transaction import admit_next

SILENCE = (
    "(now() - greatest(n.last_heartbeat_at, "
    "(SELECT resumed_at FROM presence_sweeps) + make_interval(secs => :heartbeat)))"
)
"""SQL expression: how long the node ``n`` has been silent.

Time in which no worker ran the presence sweep (an outage of Relay or of Postgres) does not count. After such an outage
a node has one heartbeat interval to send a heartbeat.
"""

_DRAINS = (OperationKind.NODE_DRAIN, EventKind.NODE_DRAINED)
_UNDRAINS = (OperationKind.NODE_UNDRAIN, EventKind.NODE_UNDRAINED)


def _heartbeat_statement(*told: str) -> ReturningInsert[tuple[str, bool, datetime | None]]:
    """Return the statement of a heartbeat that also writes some columns, each from the parameter `to_…`.

    A node that is well, but takes no new workspaces because an operator said so, is stored as `draining`.
    """
    said = {
        "pool": bindparam("to_pool"),
        "client_version": bindparam("to_version"),
        "reported_health": bindparam("to_health"),
        **{column: bindparam(f"to_{column}") for column in told},
        "liveness": Liveness.ONLINE,
        "last_heartbeat_at": func.now(),
    }
    statement = insert(RuntimeNode).values(node_id=bindparam("to_node"), **said)
    is_closed = or_(RuntimeNode.draining, RuntimeNode.revoked_at.is_not(None))
    is_well = statement.excluded.reported_health == NodeHealth.OK
    health = case((is_well & is_closed, NodeHealth.DRAINING), else_=statement.excluded.reported_health)
    changed = {**said, "reported_health": health}
    written = statement.on_conflict_do_update(index_elements=[RuntimeNode.node_id], set_=changed)
    unflushed = func.set_config("synchronous_commit", "off", True)  # noqa: FBT003
    return written.returning(unflushed, RuntimeNode.draining, RuntimeNode.revoked_at)


_HEARTBEAT = _heartbeat_statement()
_HEARTBEAT_WITH_CAPABILITIES = _heartbeat_statement("capabilities")


def register(
    connection: Connection, node_id: str, pool: str, capacity: Capacity, declares: Collection[str] = ()
) -> None:
    """Insert a node's row, which claims refer to; if it exists, update the node's capacity and declared capabilities.

    The liveness of an existing row does not change: an offline node becomes online only with a heartbeat. A new row
    begins as online, as if a heartbeat had arrived now. A node that was detached is attached again.

    Raises:
        Conflict: `runtimenode.attach_conflict`: the node is attached to another pool.
    """
    declared = sorted(set(declares))
    said = {**asdict(capacity), "declares": declared}
    row = insert(RuntimeNode).values(node_id=node_id, pool=pool, last_heartbeat_at=func.now(), **said)
    made = row.on_conflict_do_update(index_elements=[RuntimeNode.node_id], set_=said)
    is_new = connection.scalar(made.returning(literal_column("xmax = 0")))
    attached = attachments.attach_worker(connection, node_id, pool, declared)
    if is_new or attached:
        payload = {"node_id": node_id, "pool": pool}
        operations.record(
            connection, OperationKind.NODE_ATTACH, attachments.subject_of(node_id), EventKind.NODE_ATTACHED, payload
        )


def heartbeat(
    connection: Connection,
    node_id: str,
    *,
    pool: str,
    client_version: str,
    capabilities: Mapping[str, Any] | None = None,
    health: NodeHealth = NodeHealth.OK,
) -> str | None:
    """Store a node's heartbeat, which makes the node online. Inserts the row if it is missing.

    The commit does not wait for the disk. If Postgres crashes, the heartbeats of the last moment may be lost; then the
    node looks silent for longer than it is until its next heartbeat, which comes before it counts as offline.

    Args:
        connection: for single statements, or a transaction that writes nothing but this, as all that it writes can be
            lost.
        node_id: stable id of the node.
        pool: pool whose queue the node's workers consume.
        client_version: version of Relay that its worker runs.
        capabilities: properties of its container engine; None keeps the stored ones.
        health: health that the node reports. `ok` is stored as `draining` while the node is drained or revoked.

    Returns:
        What an operator told the node, `revoked` or `draining`; None: it takes work.
    """
    said: dict[str, Any] = {"to_node": node_id, "to_pool": pool, "to_version": client_version, "to_health": health}
    if capabilities is None:
        row = connection.execute(_HEARTBEAT, said).one()
    else:
        row = connection.execute(_HEARTBEAT_WITH_CAPABILITIES, {**said, "to_capabilities": dict(capabilities)}).one()
    return nodes.closed_by_operator(draining=row.draining, revoked=row.revoked_at is not None)


def beat(connection: Connection, node_id: str, health: NodeHealth) -> None:
    """Store the heartbeat of a known node that speaks through the API; it makes the node online.

    Raises:
        NotFound: there is no such node; nothing is written.
    """
    said = {"reported_health": health, "liveness": Liveness.ONLINE, "last_heartbeat_at": func.now()}
    if not connection.execute(update(RuntimeNode).where(RuntimeNode.node_id == node_id).values(said)).rowcount:
        raise NotFound(f"there is no node {node_id}: attach it first")


@dataclass(frozen=True)
class LivenessChange:
    """A node whose liveness `sweep` has lowered."""

    node_id: str
    before: Liveness
    after: Liveness


def sweep(connection: Connection, bounds: Bounds) -> list[LivenessChange]:
    """Run the presence sweep: lower the liveness of silent nodes.

    A single statement decides and writes, so a heartbeat that arrives at the same moment wins. One worker sweeps at a
    time.

    Returns:
        The nodes whose liveness changed; empty, without waiting, if another worker is sweeping.
    """
    if not try_sweep_lock(connection, "presence"):
        return []
    connection.execute(
        text(
            "UPDATE presence_sweeps SET swept_at = now(), resumed_at = "
            "CASE WHEN swept_at < now() - make_interval(secs => :outage) THEN now() ELSE resumed_at END"
        ),
        {"outage": OUTAGE_SECONDS},
    )
    target = f"CASE WHEN {SILENCE} > make_interval(secs => :offline) THEN 'offline' ELSE 'degraded' END"
    rows = connection.execute(
        text(
            f"""
            UPDATE runtime_nodes n SET liveness = {target} FROM runtime_nodes old
            WHERE old.node_id = n.node_id AND {SILENCE} > make_interval(secs => :degraded)
              AND n.liveness <> 'offline' AND n.liveness <> {target}
            RETURNING n.node_id, old.liveness AS before, n.liveness AS after
            """  # noqa: S608 - nothing of a client's
        ),
        parameters(bounds),
    )
    return [LivenessChange(row.node_id, Liveness(row.before), Liveness(row.after)) for row in rows]


def parameters(bounds: Bounds) -> dict[str, float]:
    """Return the bounds in seconds, by the names that `SILENCE` and the statements with it use as parameters."""
    return {
        "heartbeat": bounds.heartbeat_seconds,
        "degraded": bounds.degraded_seconds,
        "offline": bounds.offline_seconds,
    }


@dataclass(frozen=True)
class ListedNode:
    """A node with its load, both read at one moment."""

    node: NodeRow
    age_seconds: float | None
    """Seconds since its last heartbeat. None: it has never sent one."""
    promised: Load
    """The capacity that the node has promised to workspaces."""
    workers: Sequence[WorkerSlots] = ()
    """The slots of each of its workers."""
    attachments: Sequence[Attachment] = ()
    """Its attachments to pools, the active one first."""

    @property
    def attachment(self) -> Attachment | None:
        """The active attachment, else the newest one; None: its row is older than attachments."""
        return next(iter(self.attachments), None)

    @property
    def closed(self) -> str | None:
        """Why the node takes no new workspace with default limits at present; None if it does."""
        if self.node.liveness is Liveness.OFFLINE:
            return "it is offline"
        active = self.attachment
        slot = active.slot if active is not None and active.state.active else None
        return placement.why_no_new(self.node, self.promised, slot)


def set_draining(connection: Connection, node_id: str, *, draining: bool, by: str | None = None) -> ListedNode:
    """Tell a node to take no new workspaces, or to take them again. Its present workspaces are not affected.

    Args:
        connection: one transaction.
        node_id: the node.
        draining: whether it takes no new workspaces from now on.
        by: who asks; told by the event of a change.

    Raises:
        NotFound: there is no such node.
        Conflict: `node_revoked`: it is revoked, so it cannot take new workspaces.
    """
    allowed = (RuntimeNode.draining != draining) & RuntimeNode.revoked_at.is_(None)
    node = update(RuntimeNode).where(RuntimeNode.node_id == node_id, allowed)
    if connection.execute(node.values(draining=draining)).rowcount:
        payload = {"node_id": node_id, "by": by}
        kind, event = _DRAINS if draining else _UNDRAINS
        operations.record(connection, kind, attachments.subject_of(node_id), event, payload)
    elif not draining and placement.is_revoked(connection, node_id):
        message = f"node {node_id} is revoked: restore it (`relay revoke {node_id} --undo`), which ends a drain, too"
        raise Conflict(message, code="node_revoked")
    if not draining:
        admit_next(connection)
    return listed(connection, node_id)


def listed(connection: Connection, node_id: str) -> ListedNode:
    """Return one node as `list_nodes` does.

    Raises:
        NotFound: there is no such node.
    """
    for found in list_nodes(connection, node_id):
        return found
    raise NotFound(f"there is no node {node_id}")


def list_nodes(connection: Connection, *only: str) -> list[ListedNode]:
    """Return nodes by name, each with the age of its last heartbeat and its load. Without ids of nodes: all.

    The liveness is the stored one, so it may be older than the age.
    """
    age = func.extract("epoch", func.now() - RuntimeNode.last_heartbeat_at).label("age_seconds")
    found = select(*RuntimeNode.__table__.columns, age).order_by(RuntimeNode.node_id)
    rows = connection.execute(found.where(RuntimeNode.node_id.in_(only)) if only else found).mappings().all()
    promised, used = placement.loads(connection, *only), used_slots(connection)
    attached = attachments.all_by_node(connection, *only)
    return [
        ListedNode(
            NodeRow.from_row(row),
            None if row["age_seconds"] is None else float(row["age_seconds"]),
            promised.get(row["node_id"], Load(0, 0)),
            _workers(row["capabilities"], used.get(row["node_id"], {})),
            attached.get(row["node_id"], ()),
        )
        for row in rows
    ]


def _workers(capabilities: Mapping[str, Any], used: Mapping[str, int]) -> tuple[WorkerSlots, ...]:
    living, slots = told_slots(capabilities)
    return worker_slots(living, used, slots)


def count_by_liveness(connection: Connection) -> dict[Liveness, int]:
    """Return how many nodes have each liveness. A liveness that no node has is left out."""
    counts = select(RuntimeNode.liveness, func.count()).group_by(RuntimeNode.liveness)
    return {Liveness(liveness): count for liveness, count in connection.execute(counts)}
