"""Lowers the liveness of nodes that send no heartbeat."""

import structlog

from relay_core.domain.nodes import Bounds
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)


def sweep(database: Database, bounds: Bounds, metrics: Metrics) -> None:
    """Set silent nodes to `degraded` or `offline` in Postgres. Nothing else is written.

    Args:
        database: stores the nodes.
        bounds: seconds of silence after which a node is `degraded`, and after which it is `offline`.
        metrics: counts the nodes that were changed.
    """
    with database.begin() as connection:
        changes = runtime_nodes.sweep(connection, bounds)
    for change in changes:
        metrics.swept(f"node_{change.after}")
        log.warning("a node is silent", node=change.node_id, before=change.before, after=change.after)
