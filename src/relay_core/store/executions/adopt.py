"""Adoption: a worker takes over a running execution whose worker is gone.

It becomes the owner under a higher fence, so writes of the owner before it are refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, func, literal_column, select, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.message import QueueMessage
from relay_core.domain.process_handle import VERSION, ProcessHandle
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store import events
from relay_core.store.executions import leases
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed, mark_of_lease
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.logs import log_store
from relay_core.store.nodes import placement
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass(frozen=True)
class HeldExecution:
    """A running execution of a node, and the worker that owns it.

    Attributes:
        owner: incarnation (one run of a worker process) that holds the execution.
    """

    message: QueueMessage
    """Message that makes a worker of the node take the execution over."""
    owner: str
    expired: bool
    """Whether the lease of the owner is over.

    After a restart of Postgres no lease counts as over before the owner had the length of one lease to renew it.
    """


def _expired(lease_seconds: float) -> ColumnElement[bool]:
    """Return the SQL condition that an execution may be taken from its owner because the lease is over.

    After a restart of Postgres every owner gets the length of one lease to renew its lease first.
    """
    lease = text(f"interval '{float(lease_seconds)} seconds'")
    grace_is_over = literal_column(leases.STARTED) + lease < func.now()
    return ~leases.is_held() & grace_is_over


def held_executions(connection: Connection, by: Claimant) -> list[HeldExecution]:
    """Return the running executions of the claimant's node, of all owners, the oldest first."""
    expired = _expired(by.lease_seconds).label("expired")
    statement = (
        select(
            E.id,
            E.attempt,
            E.run_reason,
            E.owner,
            E.node_id,
            func.coalesce(Workspace.pool, E.pool).label("pool"),
            expired,
        )
        .outerjoin(Workspace, Workspace.id == E.workspace_id)
        .where(E.status == Status.RUNNING, E.node_id == by.node_id)
        .order_by(E.started_at, E.id)
    )
    return [
        HeldExecution(
            QueueMessage(row.id, row.attempt, RunReason(row.run_reason), row.pool, row.node_id),
            row.owner or "",
            row.expired,
        )
        for row in connection.execute(statement)
    ]


def orphans(found: Sequence[HeldExecution], is_dead: Callable[[str], bool]) -> list[HeldExecution]:
    """Return the executions that need a new owner: the owner is provably dead or has lost its lease.

    Args:
        found: executions of one node, from `held_executions`.
        is_dead: whether the incarnation of a worker is provably dead.
    """
    dead = {owner: is_dead(owner) for owner in {execution.owner for execution in found}}
    return [execution for execution in found if execution.expired or dead[execution.owner]]


def end_sessions(connection: Connection, owner: str, older_than_seconds: float) -> int:
    """Terminate the database connections of a worker that has lost its lease, where a transaction is open.

    A worker that is stopped (SIGSTOP) during a transaction would keep its locks forever: Postgres does not cancel a
    COPY that waits for its client, and a stopped process keeps its connection. The worker's writes are refused anyway,
    because its lease is over.

    Args:
        connection: any transaction.
        owner: incarnation of the worker, which is also the name of its connections.
        older_than_seconds: only transactions that began so many seconds ago.

    Returns:
        How many connections were terminated.
    """
    ended = connection.scalar(
        text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = :owner "
            "AND datname = current_database() AND xact_start < now() - make_interval(secs => :age)"
        ),
        {"owner": owner, "age": older_than_seconds},
    )
    return int(ended or 0)


def adopt(
    connection: Connection, execution_id: UUID, attempt: int, by: Claimant, is_dead: Callable[[str], bool]
) -> Claimed | NotClaimed:
    """Make a worker the owner of a running execution of its node, if the present owner is gone.

    Of several workers that try, one succeeds. The owner before it can write no more. On a revoked node no worker takes
    over what another one ran: the reaper ends it.

    Args:
        connection: one transaction.
        execution_id: from the message or the adoption check.
        attempt: from the message or the adoption check.
        by: the worker that takes over.
        is_dead: whether an incarnation provably does nothing more for the execution. An owner that may still do
            something keeps the execution until its lease ends.
    """
    lane.lock_of(connection, execution_id)
    found = _running(connection, execution_id, attempt, by)
    if found is None:
        return NotClaimed("neither queued nor running here")
    row = ExecutionRow.from_row(found)
    owner = row.owner or ""
    if owner != by.owner and placement.is_revoked(connection, by.node_id):
        return NotClaimed("the node takes nothing over: it is revoked")
    handle = row.handle
    if handle is None:
        return NotClaimed("its row names no process")
    if handle.version > VERSION:
        return NotClaimed(f"its process handle has version {handle.version}; this worker reads up to {VERSION}")
    why = _why_gone(connection, owner, by, is_dead)
    if why is None:
        return NotClaimed(f"{owner} holds it")
    claimed = _take_over(connection, row, handle, by, seconds_running=float(found["seconds_running"]))
    payload = {"from": owner, "by": by.owner, "why": why}
    events.append_to_execution(connection, row.id, row.place, EventKind.EXECUTION_ADOPTED, payload)
    return claimed


def _why_gone(connection: Connection, owner: str, by: Claimant, is_dead: Callable[[str], bool]) -> str | None:
    """Return why the owner of an execution does nothing more for it; None if it may still do something.

    From now until the end of the transaction the owner cannot renew its lease; then it learns of the loss.
    """
    dead = is_dead(owner)
    if owner == by.owner:
        return "let go" if dead else None
    if leases.take_from(connection, [owner], grace_seconds=by.lease_seconds):
        return "lease expired"
    if not dead:
        return None
    leases.take_from(connection, [owner], grace_seconds=0, dead=True)
    return "worker died"


def _running(connection: Connection, execution_id: UUID, attempt: int, by: Claimant) -> RowMapping | None:
    seconds = func.extract("epoch", func.clock_timestamp() - E.started_at)
    statement = (
        select(E, seconds.label("seconds_running"))
        .where(E.id == execution_id, E.attempt == attempt, E.status == Status.RUNNING, E.node_id == by.node_id)
        .with_for_update()
    )
    return connection.execute(statement).mappings().one_or_none()


def _take_over(
    connection: Connection, row: ExecutionRow, handle: ProcessHandle, by: Claimant, *, seconds_running: float
) -> Claimed:
    fence = connection.execute(
        update(E).where(E.id == row.id).values(owner=by.owner, fence=E.fence + 1).returning(E.fence)
    ).scalar_one()
    log_store.open_streams(connection, row.id, fence)
    return Claimed(
        row.id,
        row.in_workspace,
        row.in_session,
        row.run_reason,
        row.action.step,
        row.attempt,
        fence,
        handle,
        adopted=True,
        kill_requested=row.kill_requested_at is not None,
        seconds_running=seconds_running,
        run_id=row.run_id,
        project_id=row.project_id,
        taken_at=mark_of_lease(connection, by),
    )
