"""Leases: a running execution belongs to its owner until `lease_until` on the clock of Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.vocabulary import Status
from relay_core.store.executions.locks import lock_executions
from relay_core.store.schema.tables import ExecutionProcess

E = ExecutionProcess


@dataclass(frozen=True)
class RenewedLease:
    """A lease that was extended, with the fence and a kill request, which its owner must know."""

    execution_id: UUID
    fence: int
    """Fence of the row. A worker that claimed the execution with another fence has lost it."""
    kill_requested: bool


def renew_leases(connection: Connection, owner: str, ids: Sequence[UUID], lease_seconds: float) -> list[RenewedLease]:
    """Extend the leases of the executions that a worker really runs, in one statement.

    Args:
        connection: one transaction.
        owner: the worker's incarnation.
        ids: the executions that the worker runs. They must be named, because a new worker may take the name of a dead
            one: executions of the dead worker must not get a new lease.
        lease_seconds: length of the new leases from now, on the clock of Postgres.

    Returns:
        The leases that were extended. An execution that is missing in the result has ended or has another owner.
    """
    mine = lock_executions(connection, select(E.id).where(E.owner == owner, E.id.in_(ids), E.status == Status.RUNNING))
    statement = (
        update(E)
        .where(E.id.in_(mine))
        .values(lease_until=func.now() + text(f"interval '{float(lease_seconds)} seconds'"))
        .returning(E.id, E.fence, E.kill_requested_at)
    )
    return [RenewedLease(row.id, row.fence, row.kill_requested_at is not None) for row in connection.execute(statement)]
