"""The slots of workers: how many of them carry out an execution now."""

from collections.abc import Mapping

from sqlalchemy import Connection, func, select

from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.schema.tables import ExecutionProcess

E = ExecutionProcess


def used_slots(connection: Connection) -> dict[str, dict[str, int]]:
    """Return the number of running executions by node, then by name of the worker. Dev servers are not counted."""
    worker = func.split_part(E.owner, "#", 1)
    statement = (
        select(E.node_id, worker, func.count())
        .where(E.status == Status.RUNNING, E.run_reason != RunReason.DEV_SERVER, E.node_id.is_not(None))
        .group_by(E.node_id, worker)
    )
    found: dict[str, dict[str, int]] = {}
    for node_id, name, count in connection.execute(statement):
        found.setdefault(node_id, {})[name] = count
    return found


def told_slots(capabilities: Mapping[str, object]) -> tuple[list[str], int | None]:
    """Return the names of living workers and the slots of each, as the node's last heartbeat reported them."""
    workers, slots = capabilities.get("workers"), capabilities.get("slots_per_worker")
    names = [str(name) for name in workers] if isinstance(workers, list) else []
    return names, slots if isinstance(slots, int) else None
