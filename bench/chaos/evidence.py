"""The rows and log lines of a run that has not ended in time: they tell why."""

from bench.chaos.world import World
from sqlalchemy import text

QUERIES = {
    "workspace": "SELECT row_to_json(w) FROM workspaces w WHERE id = :id",
    "executions": "SELECT row_to_json(e) FROM execution_processes e WHERE workspace_id = :id ORDER BY created_at",
    "runs": "SELECT row_to_json(r) FROM runs r WHERE workspace_id = :id",
    "nodes": "SELECT row_to_json(n) FROM runtime_nodes n ORDER BY node_id",
    "locks": "SELECT row_to_json(a) FROM pg_stat_activity a WHERE state <> 'idle' AND pid <> pg_backend_pid()",
}
LOG_LINES = 40


def evidence(world: World, workspace_id: str) -> str:
    """Return the rows of a run, of all nodes and of open transactions, and what each worker logged of the run last."""
    told, ids = [], {workspace_id}
    with world.api.database.connect() as connection:
        for name, query in QUERIES.items():
            rows = list(connection.scalars(text(query), {"id": workspace_id}))
            told += [f"{name}: {row}" for row in rows]
            if name == "executions":
                ids |= {row["id"] for row in rows}
    for node_id, node in zip(world.node_ids(), world.nodes, strict=True):
        lines = [line for line in node.log_of("worker").splitlines() if any(id_ in line for id_ in ids)]
        told += [f"worker of {node_id}: {line}" for line in lines[-LOG_LINES:]]
    return "\n".join(told)
