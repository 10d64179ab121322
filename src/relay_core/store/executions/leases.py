"""Leases: a running execution belongs to its owner until `lease_until` on Postgres' clock."""

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
    """A lease that was prolonged, and what its owner has to know."""

    execution_id: UUID
    fence: int
    """Fence of the row; a worker that holds another one has lost the execution."""
    kill_requested: bool


def renew_leases(connection: Connection, owner: str, ids: Sequence[UUID], lease_seconds: float) -> list[RenewedLease]:
    """Prolong the leases of executions that a worker really runs, in one statement.

    Args:
        connection: one transaction.
        owner: the worker's incarnation.
        ids: the executions it runs. They are named because a new worker takes the name of a dead one: the dead
            worker's runs must not seem alive for that.
        lease_seconds: from now, on Postgres' clock.

    Returns:
        The leases that were prolonged; an execution that is missing has ended or has another owner.
    """
    mine = lock_executions(connection, select(E.id).where(E.owner == owner, E.id.in_(ids), E.status == Status.RUNNING))
    statement = (
        update(E)
        .where(E.id.in_(mine))
        .values(lease_until=func.now() + text(f"interval '{float(lease_seconds)} seconds'"))
        .returning(E.id, E.fence, E.kill_requested_at)
    )
    return [RenewedLease(row.id, row.fence, row.kill_requested_at is not None) for row in connection.execute(statement)]
