"""Runtime nodes: registration, heartbeats, liveness and draining. Only Postgres' clock counts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import NotFound
from relay_core.domain.nodes import OUTAGE_SECONDS, Bounds, Capacity, Load
from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store.advisory_lock import try_sweep_lock
from relay_core.store.nodes import placement
from relay_core.store.nodes.node_row import NodeRow
from relay_core.store.schema.tables import RuntimeNode

SILENCE = (
    "(now() - greatest(n.last_heartbeat_at, "
    "(SELECT resumed_at FROM presence_sweeps) + make_interval(secs => :heartbeat)))"
)
"""SQL: how long the node ``n`` has been silent. Time in which no worker swept (an outage of Relay or of Postgres) does
not count; from its end a node has one heartbeat interval to report."""


def register(connection: Connection, node_id: str, pool: str, capacity: Capacity) -> None:
    """Insert a node's row, which claims refer to, or update the limits of what the node may promise.

    Writes no liveness: a node that registers is not online before its first heartbeat.
    """
    said = asdict(capacity)
    row = insert(RuntimeNode).values(node_id=node_id, pool=pool, last_heartbeat_at=func.now(), **said)
    connection.execute(row.on_conflict_do_update(index_elements=[RuntimeNode.node_id], set_=said))


def heartbeat(
    connection: Connection,
    node_id: str,
    *,
    pool: str,
    client_version: str,
    capabilities: Mapping[str, Any] | None = None,
    health: NodeHealth = NodeHealth.OK,
) -> None:
    """Store a node's heartbeat: a node that was degraded or offline is online again. Inserts the row if it is missing.

    Args:
        connection: any transaction.
        node_id: stable id of the node.
        pool: pool whose queue it consumes.
        client_version: version of Relay that its worker runs.
        capabilities: properties of its container engine; None leaves those of the heartbeat before.
        health: health that the node reports.
    """
    said: dict[str, Any] = {"pool": pool, "client_version": client_version, "reported_health": health}
    if capabilities is not None:
        said["capabilities"] = dict(capabilities)
    lives = {**said, "liveness": Liveness.ONLINE, "last_heartbeat_at": func.now()}
    statement = insert(RuntimeNode).values(node_id=node_id, **lives)
    connection.execute(statement.on_conflict_do_update(index_elements=[RuntimeNode.node_id], set_=lives))


@dataclass(frozen=True)
class LivenessChange:
    """A node whose liveness was lowered by `sweep`."""

    node_id: str
    before: Liveness
    after: Liveness


def sweep(connection: Connection, bounds: Bounds) -> list[LivenessChange]:
    """Lower the liveness of silent nodes; returns those that changed.

    One statement changes the rows themselves, so a heartbeat at the same moment wins. One worker sweeps at a time; for
    the others this returns an empty list at once.
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
    """The bounds in seconds, by the parameter names of `SILENCE` and of the statements that use it."""
    return {
        "heartbeat": bounds.heartbeat_seconds,
        "degraded": bounds.degraded_seconds,
        "offline": bounds.offline_seconds,
    }


@dataclass(frozen=True)
class ListedNode:
    """A node with its load at one moment."""

    node: NodeRow
    age_seconds: float | None
    """Seconds since its last heartbeat; None: it has never sent one."""
    promised: Load
    """Room that it has promised."""


def set_draining(connection: Connection, node_id: str, *, draining: bool) -> ListedNode:
    """Let a node take no new workspaces, or take them again; its present workspaces go on. Again changes nothing.

    Raises:
        NotFound: there is no such node.
    """
    node = update(RuntimeNode).where(RuntimeNode.node_id == node_id)
    if connection.execute(node.values(draining=draining)).rowcount == 0:
        raise NotFound(f"there is no node {node_id}")
    return next(listed for listed in list_nodes(connection) if listed.node.node_id == node_id)


def is_draining(connection: Connection, node_id: str) -> bool:
    """Whether a node was told to take no new workspaces."""
    return bool(connection.scalar(select(RuntimeNode.draining).where(RuntimeNode.node_id == node_id)))


def list_nodes(connection: Connection) -> list[ListedNode]:
    """All nodes by name, each with the age of its last heartbeat and its load; liveness is as the sweep left it."""
    age = func.extract("epoch", func.now() - RuntimeNode.last_heartbeat_at).label("age_seconds")
    columns = [*RuntimeNode.__table__.columns, age]
    rows = connection.execute(select(*columns).order_by(RuntimeNode.node_id)).mappings().all()
    promised = placement.loads(connection)
    return [
        ListedNode(
            NodeRow.from_row(row),
            None if row["age_seconds"] is None else float(row["age_seconds"]),
            promised.get(row["node_id"], Load(0, 0)),
        )
        for row in rows
    ]


def count_by_liveness(connection: Connection) -> dict[Liveness, int]:
    """How many nodes have each liveness; one that no node has is left out."""
    counts = select(RuntimeNode.liveness, func.count()).group_by(RuntimeNode.liveness)
    return {Liveness(liveness): count for liveness, count in connection.execute(counts)}
