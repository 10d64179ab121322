"""The stored state of runs: written in each transaction that changes an execution, so it is never behind."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, case, func, or_, select, union, update

from relay_core.domain.run import Member, state_of
from relay_core.domain.vocabulary import ACTIVE, Reason, RunStatus, Status
from relay_core.store.schema.tables import ExecutionProcess, Run
from relay_core.store.transaction import admit_next

E = ExecutionProcess


def settle(connection: Connection, run_id: UUID | None) -> None:
    """Write the state of a run that its executions have now; nothing is written where the row has it already.

    Call it after the last change of executions in the transaction. The caller holds the lock on the lane. If the run is
    completed, waiting runs may be admitted at the end of the transaction.

    Args:
        connection: one transaction.
        run_id: the run; None (an execution without a run): nothing is done.
    """
    if run_id is None:
        return
    state = state_of(members(connection, run_id))
    completed = state.status is RunStatus.COMPLETED
    values: dict[str, Any] = {
        "status": state.status,
        "conclusion": state.conclusion,
        "deciding_execution_id": state.deciding,
        "started_at": _time(func.min(E.started_at.expression), run_id),
        "completed_at": _time(func.max(E.completed_at.expression), run_id) if completed else None,
    }
    if not completed:  # a run that was completed and goes on has to be admitted again
        values["admitted_at"] = case((Run.status == RunStatus.COMPLETED, None), else_=Run.admitted_at)
    differs = or_(*(getattr(Run, name).is_distinct_from(value) for name, value in values.items()))
    written = connection.execute(update(Run).where(Run.id == run_id, differs).values(**values)).rowcount
    if written and completed:
        admit_next(connection)


def _time(of_all: ColumnElement[Any], run_id: UUID) -> ScalarSelect[Any]:
    """Return the subquery of a time, so that no time passes through this process: Postgres' clock is the only one."""
    return select(of_all).where(E.run_id == run_id).scalar_subquery()


def members(connection: Connection, run_id: UUID) -> Sequence[Member]:
    """Return the executions of a run as `state_of` needs them, in the order of their creation."""
    columns = (E.id, E.status, E.reason, E.retry_of, E.created_at, E.started_at, E.completed_at)
    rows = connection.execute(select(*columns).where(E.run_id == run_id).order_by(E.created_at, E.id))
    return [
        Member(
            row.id,
            Status(row.status),
            None if row.reason is None else Reason(row.reason),
            row.retry_of,
            row.created_at,
            row.started_at,
            row.completed_at,
        )
        for row in rows
    ]


def inconsistent(connection: Connection, limit: int) -> list[UUID]:
    """Return runs that are completed with an active execution, or not completed without one; there should be none."""
    active = select(E.id).where(E.run_id == Run.id, E.status.in_(ACTIVE)).exists()
    stuck = select(Run.id).where(Run.status != RunStatus.COMPLETED, ~active)
    early = select(Run.id).join(E, E.run_id == Run.id)
    early = early.where(E.status.in_(ACTIVE), Run.status == RunStatus.COMPLETED)
    return list(connection.scalars(union(stuck, early).limit(limit)))
