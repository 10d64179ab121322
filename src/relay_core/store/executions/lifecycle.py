"""Claim, finish and kill: the three transactions through which an execution passes.

Locks are taken in one order everywhere: lane, execution, workspace, node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import NotFound, Stale
from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.limits import Limits
from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.step import Step
from relay_core.domain.vocabulary import Reason, RunReason, Status, TaskStatus, WorkspaceState
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.executions.handle_json import handle_to_json
from relay_core.store.logs import log_store
from relay_core.store.nodes import admission
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, Workspace
from relay_core.store.workspaces import lane, workspace_rows

E = ExecutionProcess


@dataclass(frozen=True)
class Claimant:
    """The worker that asks."""

    owner: str
    node_id: str
    pool: str
    lease_seconds: float


@dataclass(frozen=True)
class Claimed:
    """An execution that is ours now, with what a runner needs to know of it."""

    execution_id: UUID
    workspace_id: UUID
    session_id: UUID
    run_reason: RunReason
    step: Step
    attempt: int
    fence: int
    handle: ProcessHandle
    """As the claim made it, or as the owner before this one left it."""
    adopted: bool = False
    """It was another worker's: its process may run, may have ended, or may never have started."""
    kill_requested: bool = False
    seconds_queued: float = 0.0
    seconds_running: float = 0.0
    """Since it was first claimed, on Postgres' clock."""

    @property
    def gid(self) -> int:
        """Group of all processes of the execution."""
        return self.handle.gid

    @property
    def task_id(self) -> str:
        """Celery's id of this attempt."""
        return task_id(self.execution_id, self.attempt)


@dataclass(frozen=True)
class NotClaimed:
    """It is not for us; `rings` are due all the same when the claim ended it."""

    why: str
    messages: Sequence[QueueMessage] = ()
    ended: Transition | None = None
    """How it ended without having started: nobody else will tell Celery."""
    waits: QueueMessage | None = None
    """Its message is due again once its node has room."""


def claim(
    connection: Connection, execution_id: UUID, attempt: int, by: Claimant, *, full: str | None = None
) -> Claimed | NotClaimed:
    """Take a queued execution: one winner whatever the number of copies of its message.

    The lane and the workspace are checked again here, whatever the API saw when it accepted the step; an execution
    whose workspace is gone meanwhile ends as `failed` (`workspace_gone`) without any side effect.

    Args:
        connection: one transaction.
        execution_id: from the message.
        attempt: from the message.
        by: who asks.
        full: why the claimant's disk takes no workspace that is not its own yet; what its node has promised is read
            here, under the lock of the node's row.
    """
    row = connection.execute(
        select(E.workspace_id, E.run_reason, E.group_id, E.lane_position).where(E.id == execution_id)
    ).one_or_none()
    if row is None:
        return NotClaimed("unknown")
    reason = RunReason(row.run_reason)
    holder = lane.lock(connection, row.workspace_id)
    mine = (
        connection.execute(
            select(E).where(E.id == execution_id, E.status == Status.QUEUED, E.attempt == attempt).with_for_update()
        )
        .mappings()
        .one_or_none()
    )
    if mine is None:
        return NotClaimed("not queued", ended=_ended_unstarted(connection, execution_id, attempt))
    workspace = (
        connection.execute(select(Workspace).where(Workspace.id == row.workspace_id).with_for_update()).mappings().one()
    )
    gone = _why_gone(workspace, reason)
    if gone:
        refused = machine.refused(Reason.WORKSPACE_GONE, gone)
        return NotClaimed(gone, end_queued(connection, execution_id, refused), refused)
    why = _why_elsewhere(workspace, by) or _why_held(connection, row.workspace_id, by)
    if why is None and (no_room := _why_no_room(connection, workspace, by, full)):
        message = QueueMessage(execution_id, attempt, reason, workspace["pool"], workspace["node_id"])
        return NotClaimed(f"the node has no room: {no_room}", waits=message)
    if why is None and reason.in_lane:
        mine_first = lane.take(connection, row.workspace_id, row.group_id, row.lane_position, holder)
        why = None if mine_first else "lane is busy"
    return _take(connection, mine, workspace, by) if why is None else NotClaimed(why)


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


def _why_elsewhere(workspace: RowMapping, by: Claimant) -> str | None:
    if workspace["requested_state"] is not None or workspace["state"] == WorkspaceState.STOPPED:
        return "the workspace is stopped"
    if workspace["node_id"] not in (None, by.node_id):
        return "placed on another node"
    return None


def _why_held(connection: Connection, workspace_id: UUID, by: Claimant) -> str | None:
    """An execution that has ended holds its workspace until its node has ended what is left of its processes."""
    left = select(E.id).where(E.workspace_id == workspace_id, E.leftover_on == by.node_id)
    first = connection.scalar(left.limit(1))
    return None if first is None else f"processes of execution {first} may still run"


def _why_no_room(connection: Connection, workspace: RowMapping, by: Claimant, full: str | None) -> str | None:
    if workspace["node_id"] is None and full is not None:
        return full
    return admission.why_refused(connection, by.node_id, workspace)


def _why_gone(workspace: RowMapping, reason: RunReason) -> str | None:
    if workspace["deleted_at"] is not None:
        return "the workspace was deleted before this step could start"
    if workspace["archived"] and reason is not RunReason.ARCHIVE_SCRIPT:
        return "the workspace was archived before this step could start"
    if workspace["state"] == WorkspaceState.FAILED and reason is not RunReason.CLONE:
        return f"the workspace could not be prepared: {workspace['error_reason']}"
    return None


def _take(connection: Connection, row: RowMapping, workspace: RowMapping, by: Claimant) -> Claimed:
    reason = RunReason(row["run_reason"])
    timeout = None if reason is RunReason.DEV_SERVER else Limits.from_row(workspace["limits"]).timeout_seconds
    seconds = text(f"interval '{float(by.lease_seconds)} seconds'")
    handle = ProcessHandle(workspace["next_gid"])
    taken = connection.execute(
        update(E)
        .where(E.id == row["id"], E.status == Status.QUEUED)
        .values(
            status=machine.claimed().target,
            started_at=func.clock_timestamp(),
            owner=by.owner,
            node_id=by.node_id,
            lease_until=func.now() + seconds,
            fence=E.fence + 1,
            handle=handle_to_json(handle),
            deadline_at=None if timeout is None else func.now() + text(f"interval '{timeout} seconds'"),
        )
        .returning(E.fence, func.extract("epoch", E.started_at - E.created_at).label("queued"))
    ).one()
    fence = taken.fence
    connection.execute(
        update(Workspace)
        .where(Workspace.id == workspace["id"])
        .values(node_id=by.node_id, next_gid=Workspace.next_gid + 1)
    )
    log_store.open_streams(connection, row["id"], fence)
    if reason is not RunReason.DEV_SERVER:
        lane.set_task_status(connection, workspace["id"], TaskStatus.INPROGRESS)
    payload = {"run_reason": reason, "node_id": by.node_id, "attempt": row["attempt"]}
    events.append(connection, workspace["id"], EventKind.EXECUTION_STARTED, payload, operation_id=row["id"])
    return Claimed(
        row["id"],
        workspace["id"],
        row["session_id"],
        reason,
        action_from_json(row["executor_action"]).step,
        row["attempt"],
        fence,
        handle,
        seconds_queued=float(taken.queued),
    )


EvidenceEvent = tuple[EventKind, Mapping[str, Any]]
"""Kind and payload of an event."""


@dataclass(frozen=True)
class Evidence:
    """What is stored together with the end of an execution."""

    repo_states: Mapping[UUID, Mapping[str, Any]] = field(default_factory=dict)
    """Columns of ExecutionProcessRepoState by repo id."""
    log_ends: Mapping[str, "log_store.StreamEnd"] = field(default_factory=dict)
    turn: Mapping[str, Any] | None = None
    """Columns of CodingAgentTurn."""
    events: Sequence[EvidenceEvent] = ()
    """Events that belong before the terminal event."""


class Finished(NamedTuple):
    """The end of an execution as it was written."""

    transition: Transition
    messages: list[QueueMessage]
    """Of what may start now: the next group of the chain, or the next chain in the lane."""


def finish(
    connection: Connection,
    execution_id: UUID,
    fence: int,
    transition: Transition,
    evidence: Evidence | None = None,
    *,
    left_on: str | None = None,
) -> Finished:
    """End a running execution: status, exit code, after-heads, log ends and the terminal event, all or nothing.

    A kill that was accepted before this transaction is heeded: the execution is `killed` and nothing of its chain
    follows, whatever ``transition`` says.

    Args:
        connection: one transaction.
        execution_id: which.
        fence: under which it is the caller's.
        transition: how it ended.
        evidence: what is stored with it.
        left_on: the node where processes of it may still run. They could not be verified to be gone, so its log is
            marked as truncated, and nothing starts in the workspace until that node has ended them (`leftovers`).

    Raises:
        Stale: the execution is no longer ours; nothing was written.
    """
    evidence = evidence or Evidence()
    row = connection.execute(select(E.workspace_id, E.group_id, E.run_reason).where(E.id == execution_id)).one()
    lane.lock(connection, row.workspace_id)  # a kill that comes now waits, or is seen
    asked = connection.scalar(select(E.kill_requested_at).where(E.id == execution_id)) is not None
    if asked and left_on is None:  # `killed` says that every process is gone
        transition = machine.heeding_kill(transition)
    if not transitions.write_transition(connection, execution_id, transition, fence=fence, leftover_on=left_on):
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")
    for repo_id, fields in evidence.repo_states.items():
        transitions.record_after_state(connection, execution_id, repo_id, fields)
    ends = evidence.log_ends
    if ends:
        cut = {name: end._replace(truncated=True) for name, end in ends.items()}
        log_store.close(connection, execution_id, fence, ends if left_on is None else cut)
    if evidence.turn:
        turn = update(CodingAgentTurn).where(CodingAgentTurn.execution_process_id == execution_id)
        connection.execute(turn.values(**evidence.turn))
    for kind, payload in evidence.events:
        events.append(connection, row.workspace_id, kind, payload, operation_id=execution_id)
    transitions.append_end(connection, row.workspace_id, execution_id, transition)
    if row.run_reason == RunReason.CLONE and transition.target is not Status.COMPLETED:
        workspace_rows.preparation_failed(connection, row.workspace_id, transition)
    if not RunReason(row.run_reason).in_lane:
        return Finished(transition, [])
    return Finished(
        transition, transitions.messages(connection, lane.leave(connection, row.workspace_id, row.group_id))
    )


def end_queued(connection: Connection, execution_id: UUID, transition: Transition) -> list[QueueMessage]:
    """End an execution that nobody has claimed; nothing happens when somebody has."""
    row = connection.execute(select(E.workspace_id, E.group_id, E.run_reason).where(E.id == execution_id)).one()
    lane.lock(connection, row.workspace_id)
    if not transitions.write_transition(connection, execution_id, transition, fence=None):
        return []
    transitions.append_end(connection, row.workspace_id, execution_id, transition)
    if row.run_reason == RunReason.CLONE and transition.target is not Status.COMPLETED:
        workspace_rows.preparation_failed(connection, row.workspace_id, transition)
    if not RunReason(row.run_reason).in_lane:
        return []
    return transitions.messages(connection, lane.leave(connection, row.workspace_id, row.group_id))


@dataclass(frozen=True)
class KillRequested:
    """What a request to kill did."""

    status: Status
    owner: str | None
    """Worker to ring, when it runs."""
    attempt: int
    messages: Sequence[QueueMessage] = ()


def request_kill(connection: Connection, execution_id: UUID, by: str) -> KillRequested:
    """Ask for the end of an execution, durably; asking again changes nothing.

    A queued one ends at once; a running one is marked, and its owner ends it and writes the end.

    Raises:
        NotFound: there is no such execution.
    """
    found = connection.execute(select(E.workspace_id).where(E.id == execution_id)).scalar_one_or_none()
    if found is None:
        raise NotFound(f"there is no execution {execution_id}")
    lane.lock(connection, found)
    row = connection.execute(select(E).where(E.id == execution_id).with_for_update()).mappings().one()
    status = Status(row["status"])
    if status is Status.QUEUED:
        due = end_queued(connection, execution_id, machine.cancelled(f"killed by {by} before it started"))
        return KillRequested(Status.KILLED, None, row["attempt"], due)
    if status is Status.RUNNING and row["kill_requested_at"] is None:
        connection.execute(
            update(E).where(E.id == execution_id).values(kill_requested_at=func.now(), kill_requested_by=by)
        )
        events.append(
            connection, row["workspace_id"], EventKind.EXECUTION_KILL_REQUESTED, {"by": by}, operation_id=execution_id
        )
    return KillRequested(status, row["owner"], row["attempt"])
