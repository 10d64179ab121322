"""Running executions that should have ended or should have another owner by now, for `relay doctor`."""

from uuid import UUID

from sqlalchemy import Connection, func, select, text

from relay_core.domain.vocabulary import Status
from relay_core.store.executions.leases import is_held
from relay_core.store.schema.tables import ExecutionProcess as Row


def overdue_kills(connection: Connection, older_than_seconds: float, limit: int) -> list[UUID]:
    """Return executions that still run long after a kill was requested, the oldest first.

    Args:
        connection: any transaction.
        older_than_seconds: only requests that were made so many seconds ago.
        limit: most executions.
    """
    bound = func.now() - text("make_interval(secs => :seconds)").bindparams(seconds=older_than_seconds)
    overdue = select(Row.id).where(Row.status == Status.RUNNING, Row.kill_requested_at < bound)
    return list(connection.scalars(overdue.order_by(Row.created_at).limit(limit)))


def expired_leases(connection: Connection, limit: int) -> list[UUID]:
    """Return at most ``limit`` running executions whose owner has no valid lease, the oldest first."""
    expired = select(Row.id).where(Row.status == Status.RUNNING, ~is_held())
    return list(connection.scalars(expired.order_by(Row.created_at).limit(limit)))
