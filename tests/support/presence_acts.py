"""Silence, heartbeats and sweeps of nodes through the store; time is moved by writing old timestamps."""

from functools import partial
from uuid import UUID

from sqlalchemy import Connection, text, update

from relay_core.domain.nodes import Bounds
from relay_core.store import events
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import Incarnation, RuntimeNode
from relay_core.store.transaction import Database
from relay_workers.execution.step_log import stored_ends
from relay_workers.maintenance import presence
from relay_workers.maintenance.reaper import Reaper
from relay_workers.metrics import Metrics

BOUNDS = Bounds()


def watched(db: Database) -> None:
    """The presence sweep has run without a pause: a silent node is not excused by an outage of the sweep."""
    with db.begin() as connection:
        connection.execute(text("UPDATE presence_sweeps SET swept_at = now(), resumed_at = now() - interval '1 day'"))


def silent(db: Database, node_id: str, seconds: float) -> None:
    """The node has not beaten for so long, and its workers have renewed no lease either."""
    with db.begin() as connection:
        ago = text(f"now() - interval '{seconds} seconds'")
        connection.execute(update(RuntimeNode).where(RuntimeNode.node_id == node_id).values(last_heartbeat_at=ago))
        earlier = RuntimeNode.reaped_at - text(f"interval '{seconds} seconds'")
        connection.execute(update(RuntimeNode).values(reaped_at=earlier))
        mine = update(Incarnation).where(Incarnation.node_id == node_id)
        connection.execute(mine.values(lease_until=text(f"now() + interval '{30 - seconds} seconds'")))


def expire_leases(connection: Connection) -> None:
    """End the leases of all workers."""
    connection.execute(update(Incarnation).values(lease_until=text("now() - interval '1 hour'")))


def sweep(db: Database) -> list[tuple[str, str, str]]:
    with db.begin() as connection:
        return [(one.node_id, one.before, one.after) for one in runtime_nodes.sweep(connection, BOUNDS)]


def sweep_and_reap(context) -> None:
    bounds, log_ends = context.settings.presence, partial(stored_ends, context.logs)
    presence.sweep(context.database, bounds, Metrics())
    Reaper(context.database, context.claimant.owner, bounds, log_ends, context.live_logs).sweep()


def node(db: Database, node_id: str = "node-1"):
    with db.connect() as connection:
        listed = next(found for found in runtime_nodes.list_nodes(connection) if found.node.node_id == node_id)
    return vars(listed.node) | {"age_seconds": listed.age_seconds, "promised": listed.promised}


def beat(db: Database, node_id: str = "node-1", **more) -> str | None:
    with db.begin() as connection:
        return runtime_nodes.heartbeat(connection, node_id, pool="default", client_version="1", **more)


def terminal(db: Database, execution_id: UUID) -> list[str]:
    with db.connect() as connection:
        return [row.kind for row in events.of_operation(connection, execution_id) if row.terminal]
