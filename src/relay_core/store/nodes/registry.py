"""Runtime nodes: who they are and that they live, on Postgres' clock alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import NotFound
from relay_core.domain.nodes import OUTAGE_SECONDS, Bounds, Capacity, Load
from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store.nodes import admission
from relay_core.store.schema.tables import RuntimeNode

SILENCE = (
    "(now() - greatest(n.last_heartbeat_at, "
    "(SELECT resumed_at FROM presence_sweeps) + make_interval(secs => :heartbeat)))"
)
"""How long the node ``n`` has been silent; what it missed while we ourselves were away does not count."""


def register(connection: Connection, node_id: str, pool: str, capacity: Capacity) -> None:
    """Have a row for a node, which a claim can name, and say what it may promise; of its life this says nothing."""
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
    """Register the node, or say that it still lives: from degraded and from offline it is online again.

    Args:
        connection: any transaction.
        node_id: the node's own, stable id.
        pool: whose work it takes.
        client_version: of its Relay.
        capabilities: what it has; None leaves what it said before.
        health: what it says of itself.
    """
    said: dict[str, Any] = {"pool": pool, "client_version": client_version, "reported_health": health}
    if capabilities is not None:
        said["capabilities"] = dict(capabilities)
    lives = {**said, "liveness": Liveness.ONLINE, "last_heartbeat_at": func.now()}
    statement = insert(RuntimeNode).values(node_id=node_id, **lives)
    connection.execute(statement.on_conflict_do_update(index_elements=[RuntimeNode.node_id], set_=lives))


@dataclass(frozen=True)
class Change:
    """A node whose liveness was lowered."""

    node_id: str
    before: Liveness
    after: Liveness


def sweep(connection: Connection, bounds: Bounds) -> list[Change]:
    """Lower the liveness of silent nodes; writes presence and nothing else, and only what changes.

    One statement on the row itself, so a heartbeat that comes at the same moment wins. One sweeper at a time; the
    others return at once.
    """
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('relay.sweep.presence'))")):
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
    return [Change(row.node_id, Liveness(row.before), Liveness(row.after)) for row in rows]


def parameters(bounds: Bounds) -> dict[str, float]:
    """The bounds as `SILENCE` and its users name them."""
    return {
        "heartbeat": bounds.heartbeat_seconds,
        "degraded": bounds.degraded_seconds,
        "offline": bounds.offline_seconds,
    }


def set_draining(connection: Connection, node_id: str, *, draining: bool) -> Mapping[str, Any]:
    """Let a node take no new workspaces, or take them again; what it has goes on. Again changes nothing.

    Raises:
        NotFound: there is no such node.
    """
    node = update(RuntimeNode).where(RuntimeNode.node_id == node_id)
    if connection.execute(node.values(draining=draining)).rowcount == 0:
        raise NotFound(f"there is no node {node_id}")
    return next(row for row in list_nodes(connection) if row["node_id"] == node_id)


def is_draining(connection: Connection, node_id: str) -> bool:
    """Whether it was told to take no new workspaces."""
    return bool(connection.scalar(select(RuntimeNode.draining).where(RuntimeNode.node_id == node_id)))


def list_nodes(connection: Connection) -> list[Mapping[str, Any]]:
    """All nodes, by name, with the seconds since each one's last heartbeat and its load; nothing is concluded here."""
    age = func.extract("epoch", func.now() - RuntimeNode.last_heartbeat_at).label("age_seconds")
    statement = select(RuntimeNode, age).order_by(RuntimeNode.node_id)
    columns = [*RuntimeNode.__table__.columns, age]
    rows = connection.execute(statement.with_only_columns(*columns)).mappings().all()
    promised = admission.loads(connection)
    return [
        {
            **row,
            "age_seconds": None if row["age_seconds"] is None else float(row["age_seconds"]),
            "promised": promised.get(row["node_id"], Load(0, 0)),
        }
        for row in rows
    ]
