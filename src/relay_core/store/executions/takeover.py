"""Taking over runs whose worker is gone: the same row, the same process, a higher fence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, func, literal_column, select, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.message import QueueMessage
from relay_core.domain.process_handle import VERSION, ProcessHandle
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store import events
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.executions.handle_json import handle_from_json
from relay_core.store.executions.lifecycle import Claimant, Claimed, NotClaimed
from relay_core.store.logs import log_store
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass(frozen=True)
class Held:
    """A running execution of a node, and who holds it."""

    message: QueueMessage
    owner: str
    expired: bool
    """Its lease is over, and so is the grace after a restart of Postgres."""


def _expired(lease_seconds: float) -> ColumnElement[bool]:
    """After a restart of Postgres every owner has one lease to come back before anything is taken from it."""
    lease = text(f"interval '{float(lease_seconds)} seconds'")
    grace_is_over = literal_column("pg_postmaster_start_time()") + lease < func.now()
    return (E.lease_until < func.now()) & grace_is_over


def held(connection: Connection, by: Claimant) -> list[Held]:
    """Running executions of this node, whoever owns them."""
    expired = _expired(by.lease_seconds).label("expired")
    statement = (
        select(E.id, E.attempt, E.run_reason, E.owner, E.node_id, Workspace.pool, expired)
        .join(Workspace, Workspace.id == E.workspace_id)
        .where(E.status == Status.RUNNING, E.node_id == by.node_id)
        .order_by(E.started_at, E.id)
    )
    return [
        Held(
            QueueMessage(row.id, row.attempt, RunReason(row.run_reason), row.pool, row.node_id),
            row.owner or "",
            row.expired,
        )
        for row in connection.execute(statement)
    ]


def orphans(found: Sequence[Held], is_dead: Callable[[str], bool]) -> list[Held]:
    """Those whose owner is provably dead, or has lost its lease."""
    dead = {owner: is_dead(owner) for owner in {one.owner for one in found}}
    return [one for one in found if one.expired or dead[one.owner]]


def end_sessions(connection: Connection, owner: str, older_than_seconds: float) -> int:
    """End the transactions of a worker that has lost its lease; how many there were.

    Asleep in the middle of one it would keep its locks for ever: Postgres does not cancel a COPY that waits for its
    client, and a process that is stopped keeps its connection. All it would write is refused anyway.
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
    """Take over a running execution of this node; one winner, and the owner before it can write nothing any more.

    Args:
        connection: one transaction.
        execution_id: from the message or the sweep.
        attempt: as well.
        by: who asks.
        is_dead: whether an owner provably does nothing more for it; one that may has until its lease ends.
    """
    workspace_id = connection.scalar(select(E.workspace_id).where(E.id == execution_id))
    if workspace_id is None:
        return NotClaimed("unknown")
    lane.lock(connection, workspace_id)
    row = _running(connection, execution_id, attempt, by)
    if row is None:
        return NotClaimed("neither queued nor running here")
    if not (row["expired"] or is_dead(row["owner"])):
        return NotClaimed(f"{row['owner']} holds it")
    handle = handle_from_json(row["handle"])
    if handle.version > VERSION:
        return NotClaimed(f"its process handle has version {handle.version}; this worker reads up to {VERSION}")
    return _take_over(connection, row, handle, by)


def _running(connection: Connection, execution_id: UUID, attempt: int, by: Claimant) -> RowMapping | None:
    seconds = func.extract("epoch", func.clock_timestamp() - E.started_at)
    statement = (
        select(E, _expired(by.lease_seconds).label("expired"), seconds.label("seconds_running"))
        .where(E.id == execution_id, E.attempt == attempt, E.status == Status.RUNNING, E.node_id == by.node_id)
        .with_for_update()
    )
    return connection.execute(statement).mappings().one_or_none()


def _take_over(connection: Connection, row: RowMapping, handle: ProcessHandle, by: Claimant) -> Claimed:
    fence = connection.execute(
        update(E)
        .where(E.id == row["id"])
        .values(
            owner=by.owner,
            fence=E.fence + 1,
            lease_until=func.now() + text(f"interval '{float(by.lease_seconds)} seconds'"),
        )
        .returning(E.fence)
    ).scalar_one()
    log_store.open_streams(connection, row["id"], fence)
    why = "let go" if row["owner"] == by.owner else "lease expired" if row["expired"] else "worker died"
    payload = {"from": row["owner"], "by": by.owner, "why": why}
    events.append(connection, row["workspace_id"], EventKind.EXECUTION_ADOPTED, payload, operation_id=row["id"])
    return Claimed(
        row["id"],
        row["workspace_id"],
        row["session_id"],
        RunReason(row["run_reason"]),
        action_from_json(row["executor_action"]).step,
        row["attempt"],
        fence,
        handle,
        adopted=True,
        kill_requested=row["kill_requested_at"] is not None,
        seconds_running=float(row["seconds_running"]),
    )
