"""Runtime nodes: who they are and that they live, on Postgres' clock."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.postgres.tables import RuntimeNode


def heartbeat(
    connection: Connection, node_id: str, *, pool: str, client_version: str, capabilities: Mapping[str, Any]
) -> None:
    """Register the node, or say that it still lives."""
    values = {"pool": pool, "client_version": client_version, "capabilities": dict(capabilities), "liveness": "online"}
    statement = insert(RuntimeNode).values(node_id=node_id, last_heartbeat_at=func.now(), **values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[RuntimeNode.node_id], set_={**values, "last_heartbeat_at": func.now()}
        )
    )


def list_nodes(connection: Connection) -> list[Mapping[str, Any]]:
    """All nodes, by name."""
    return [dict(row) for row in connection.execute(select(RuntimeNode).order_by(RuntimeNode.node_id)).mappings()]
