"""Running executions that should have ended or changed their owner by now, for `relay doctor`."""

from uuid import UUID

from sqlalchemy import Connection, func, select, text

from relay_core.domain.vocabulary import Status
from relay_core.store.schema.tables import ExecutionProcess as Row


def overdue_kills(connection: Connection, older_than_seconds: float, limit: int) -> list[UUID]:
    """Executions that still run so long after their end was requested, the oldest first."""
    bound = func.now() - text("make_interval(secs => :seconds)").bindparams(seconds=older_than_seconds)
    overdue = select(Row.id).where(Row.status == Status.RUNNING, Row.kill_requested_at < bound)
    return list(connection.scalars(overdue.order_by(Row.created_at).limit(limit)))


def expired_leases(connection: Connection, limit: int) -> list[UUID]:
    """Running executions whose owner has not renewed its lease, the oldest first."""
    expired = select(Row.id).where(Row.status == Status.RUNNING, Row.lease_until < func.now())
    return list(connection.scalars(expired.order_by(Row.created_at).limit(limit)))
