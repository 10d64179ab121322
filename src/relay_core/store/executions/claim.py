"""Claims: a worker becomes the owner of a queued execution.

All transactions take locks in one order: lane, execution, workspace, node.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain import execution as machine
from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.process_handle import NO_GID, ProcessHandle
from relay_core.domain.step import Step
from relay_core.domain.vocabulary import Reason, RunReason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.executions import claim_statements, leases
from relay_core.store.executions.claim_statements import Full, NewClaim, Queued, Taken
from relay_core.store.executions.execution_row import ExecutionRow, existing
from relay_core.store.executions.finish import end_queued
from relay_core.store.executions.handle_json import handle_to_json
from relay_core.store.executions.messages import messages_of
from relay_core.store.logs import log_store
from relay_core.store.nodes import placement
from relay_core.store.projects import clone_turns, clones
from relay_core.store.schema.tables import ExecutionProcess
from relay_core.store.workspaces.condition import WorkspaceCondition

E = ExecutionProcess


@dataclass(frozen=True)
class Claimant:
    """The worker that asks to become the owner of an execution."""

    owner: str
    """The worker's incarnation: the name of this one run of its process."""
    node_id: str
    pool: str
    lease_seconds: float


@dataclass(frozen=True)
class Claimed:
    """An execution that the claimant owns now, with the values that running it needs."""

    execution_id: UUID
    in_workspace: UUID | None
    """None: it clones the project `project_id` without a workspace."""
    in_session: UUID | None
    run_reason: RunReason
    step: Step
    attempt: int
    fence: int
    """Number that identifies this ownership.

    Every write of the owner names it, and is refused once another worker owns the execution.
    """
    handle: ProcessHandle
    """Where to find the process: only a gid after a claim, after a takeover what the former owner stored."""
    adopted: bool = False
    """Whether the execution was taken over from another worker.

    Its process may then run, may have ended, or may never have started.
    """
    kill_requested: bool = False
    seconds_queued: float = 0.0
    seconds_running: float = 0.0
    """Seconds since the first claim, on the clock of Postgres."""
    run_id: UUID | None = None
    """The run to which the execution belongs; None for a dev server, which belongs to none."""
    project_id: UUID | None = None
    """The project that it clones; None for an execution of a workspace."""
    taken_at: datetime | None = None
    """Mark of the owner's lease at the claim (`leases.Renewal.taken_at`).

    As long as the mark stays the same, no execution was taken from the owner.
    """

    @property
    def workspace_id(self) -> UUID:
        """Its workspace; only for an execution that has one."""
        return existing(self.in_workspace)

    @property
    def session_id(self) -> UUID:
        """Its session; only for an execution that has one."""
        return existing(self.in_session)

    @property
    def gid(self) -> int:
        """Group id of all processes of the execution; no other execution of the workspace has it."""
        return self.handle.gid

    @property
    def task_id(self) -> str:
        """Celery's task id of this attempt of the execution."""
        return task_id(self.execution_id, self.attempt)


@dataclass(frozen=True)
class NotClaimed:
    """The claimant did not become the owner; `why` is the reason as a text."""

    why: str
    ended: Transition | None = None
    """The end of the execution, if it ended without ever being started.

    The claimant reports it to Celery, as no other worker will.
    """
    waits: QueueMessage | None = None
    """The message, if the claimant's node has no capacity free.

    It is to be sent again once there is free capacity.
    """
    code: str | None = None
    """The problem code of the refusal, where it has one: `version.floor_exceeded`."""


def claim(
    connection: Connection, execution_id: UUID, attempt: int, by: Claimant, *, full: str | None = None
) -> Claimed | NotClaimed:
    """Make a worker the owner of a queued execution. If its message arrives several times, one claim succeeds.

    Lane, workspace and admission are checked again here, although a message is only sent for what may start. If the
    workspace was deleted, archived or could not be prepared, the execution ends as `failed` (`workspace_gone`).

    Two requests to Postgres do it (`claim_statements`), as claims of one node wait for each other.

    Args:
        connection: one transaction of `Database`, which the caller commits at once.
        execution_id: from the message.
        attempt: from the message.
        by: the worker.
        full: why the worker's disk can take no new workspace; None: it can. (The other capacity of the node is checked
            here, under the lock of the node's row.)
    """
    locked = claim_statements.lock(connection, execution_id, attempt, by.owner, by.node_id)
    if locked is None:
        return NotClaimed("unknown")
    if locked.in_workspace is None:
        return _claim_of_project(connection, execution_id, attempt, by, full, locked.taken_at)
    if locked.queued is None:
        return NotClaimed("not queued", ended=_ended_unstarted(connection, execution_id, attempt))
    return _claim_of_workspace(connection, locked.queued, by, full, locked.taken_at)


def _claim_of_workspace(
    connection: Connection, found: Queued, by: Claimant, full: str | None, taken_at: datetime | None
) -> Claimed | NotClaimed:
    execution_id = found.execution.id
    gone = _why_gone(found.workspace, found.execution.run_reason)
    if gone:
        refused = machine.refused(Reason.WORKSPACE_GONE, gone)
        end_queued(connection, execution_id, refused)
        return NotClaimed(gone, refused)
    if why := _why_elsewhere(found, by) or _why_held(found) or _why_not_next(found):
        return NotClaimed(why)
    if found.workspace.begins and full is not None:
        return _waiting(connection, execution_id, full)
    return _take(connection, found, by, taken_at)


def _claim_of_project(
    connection: Connection, execution_id: UUID, attempt: int, by: Claimant, full: str | None, taken_at: datetime | None
) -> Claimed | NotClaimed:
    """Claim the clone of a project: it has no lane, and takes no place of a node, but a turn of its owner."""
    queued = select(E).where(E.id == execution_id, E.status == Status.QUEUED, E.attempt == attempt).with_for_update()
    found = connection.execute(queued).mappings().one_or_none()
    if found is None:
        return NotClaimed("not queued", ended=_ended_unstarted(connection, execution_id, attempt))
    row = ExecutionRow.from_row(found)
    gone = row.project_id and clones.why_gone(connection, row.project_id)
    if gone:
        refused = machine.refused(Reason.WORKSPACE_GONE, gone)
        end_queued(connection, execution_id, refused)
        return NotClaimed(gone, refused)
    shut = placement.why_shut(connection, by.node_id, new=True)
    no_room = full or (None if shut is None else shut.why)
    if no_room is not None:
        [message] = messages_of(connection, [execution_id])
        return NotClaimed(
            f"the node takes no clone: {no_room}", waits=message, code=None if shut is None else shut.code
        )
    if not clone_turns.may_begin(connection, row.id, row.created_by, found["pool"]):
        return NotClaimed("its owner has the most clones of projects at work in the pool")
    handle = ProcessHandle(NO_GID)
    taken = _write_claim(connection, row.id, by, handle)
    events.append_to_execution(connection, row.id, row.place, EventKind.EXECUTION_STARTED, _started(row, by))
    return _claimed(connection, row, by, handle, taken, taken_at)


def _ended_unstarted(connection: Connection, execution_id: UUID, attempt: int) -> Transition | None:
    row = connection.execute(
        select(E.status, E.reason, E.error_reason).where(
            E.id == execution_id,
            E.attempt == attempt,
            E.started_at.is_(None),
            E.status.in_([Status.KILLED, Status.FAILED]),
        )
    ).one_or_none()
    if row is None:
        return None
    if Status(row.status) is Status.KILLED:
        return machine.cancelled(row.error_reason)
    return machine.refused(Reason(row.reason), row.error_reason)


def _why_elsewhere(found: Queued, by: Claimant) -> str | None:
    workspace = found.workspace
    if workspace.stopped:
        return "the workspace is stopped"
    if workspace.directory_error is not None:
        return workspace.directory_error
    if workspace.diverged and found.execution.run_reason.operation_class.mutates:
        return "a clone of the workspace is not as it was recorded"
    if workspace.node_id not in (None, by.node_id):
        return "placed on another node"
    missing = sorted(workspace.needs - found.declares)
    return f"the node does not declare {' and '.join(missing)}" if missing else None


def _why_held(found: Queued) -> str | None:
    """Return why the workspace cannot start a step yet; None if it can.

    While processes of an ended execution may still run on the node, no step of the workspace starts.
    """
    return None if found.leftover is None else f"processes of execution {found.leftover} may still run"


def _why_not_next(found: Queued) -> str | None:
    """Return why it is not the turn of the execution; None if it is.

    Its run has to be admitted. In the lane, its step group has to hold the lane, or to be the first one of a free lane.
    """
    row = found.execution
    if not found.admitted:
        return "its run is not admitted yet"
    if not row.run_reason.in_lane:
        return None
    if found.holder is not None:
        return None if found.holder == row.group_id else "lane is busy"
    first = found.first_position
    return "lane is busy" if first is not None and first < row.lane_position else None


def _waiting(connection: Connection, execution_id: UUID, no_room: str, code: str | None = None) -> NotClaimed:
    [message] = messages_of(connection, [execution_id])
    return NotClaimed(f"the node has no room: {no_room}", waits=message, code=code)


def _why_gone(workspace: WorkspaceCondition, reason: RunReason) -> str | None:
    if workspace.deleted:
        return "the workspace was deleted before this step could start"
    if workspace.archived and reason is not RunReason.ARCHIVE_SCRIPT:
        return "the workspace was archived before this step could start"
    if workspace.state is WorkspaceState.FAILED and reason is not RunReason.CLONE:
        return f"the workspace could not be prepared: {workspace.error_reason}"
    return None


def mark_of_lease(connection: Connection, by: Claimant) -> datetime:
    """Return the mark (`Renewal.taken_at`) of a claimant's lease, after a renewal if the lease is over."""
    mark = connection.scalar(select(leases.valid_mark(by.owner)))
    return mark or leases.renew(connection, by.owner, by.node_id, by.lease_seconds).taken_at


def _take(connection: Connection, found: Queued, by: Claimant, taken_at: datetime | None) -> Claimed | NotClaimed:
    """Write the claim, if the node has room.

    Args:
        connection: the transaction of the claim.
        found: the execution and its workspace, locked.
        by: the new owner.
        taken_at: mark of its lease; None: the lease is over, and is renewed here.
    """
    row, workspace = found.execution, found.workspace
    handle = ProcessHandle(workspace.next_gid)
    new = NewClaim(
        handle_to_json(handle),
        None if row.run_reason is RunReason.DEV_SERVER else workspace.limits.timeout_seconds,
        row.run_reason.in_lane and found.holder is None,
        row.run_reason.moves_task,
        _started(row, by),
    )
    taken = claim_statements.take(connection, found, by.owner, by.node_id, new)
    if isinstance(taken, Full):
        shut = placement.why_shut(connection, by.node_id, new=workspace.node_id is None) if taken.closed else None
        if shut is not None:
            return _waiting(connection, row.id, shut.why, shut.code)
        return _waiting(connection, row.id, placement.why_full(taken.load, taken.capacity, workspace))
    return _claimed(connection, row, by, handle, taken, taken_at)


def _started(row: ExecutionRow, by: Claimant) -> dict[str, Any]:
    """Return the payload of the event `execution.started`."""
    return {"run_reason": row.run_reason, "node_id": by.node_id, "attempt": row.attempt}


def _write_claim(connection: Connection, execution_id: UUID, by: Claimant, handle: ProcessHandle) -> Taken:
    taken = connection.execute(
        update(E)
        .where(E.id == execution_id, E.status == Status.QUEUED)
        .values(
            status=machine.claimed().target,
            started_at=func.clock_timestamp(),
            owner=by.owner,
            node_id=by.node_id,
            fence=E.fence + 1,
            handle=handle_to_json(handle),
        )
        .returning(E.fence, func.extract("epoch", E.started_at - E.created_at).label("queued"))
    ).one()
    log_store.open_streams(connection, execution_id, taken.fence)
    return Taken(taken.fence, float(taken.queued))


def _claimed(
    connection: Connection,
    row: ExecutionRow,
    by: Claimant,
    handle: ProcessHandle,
    taken: Taken,
    taken_at: datetime | None,
) -> Claimed:
    """Return what the owner needs."""
    return Claimed(
        row.id,
        row.in_workspace,
        row.in_session,
        row.run_reason,
        row.action.step,
        row.attempt,
        taken.fence,
        handle,
        seconds_queued=taken.queued_seconds,
        run_id=row.run_id,
        project_id=row.project_id,
        taken_at=taken_at or mark_of_lease(connection, by),
    )
