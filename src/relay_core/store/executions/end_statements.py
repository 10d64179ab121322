"""The two requests to Postgres of an end: one locks and reads what decides about it, the other one writes it.

Both are functions of Postgres, which keeps their plans. Between them the caller decides, and writes its evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, BigInteger, Boolean, Connection, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from relay_core.domain import run
from relay_core.domain.chain import Action
from relay_core.domain.events import TERMINAL
from relay_core.domain.execution import Transition
from relay_core.domain.run import RunState
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.store.events import Place
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.logs.log_store import StreamEnd

_LOCK = text("SELECT * FROM lock_for_end(:execution)")
_WRITE = text(
    "SELECT * FROM write_end(:execution, :fence, :source, :target, :reason, :exit_code, :message, :left_on, :streams, "
    ":sizes, :sums, :cuts, :kind, :payload, :releases_lane, :setup_done, :moves_task, :chain_over, :run_status, "
    ":run_conclusion, :run_deciding)"
).bindparams(
    bindparam("payload", type_=JSONB),
    bindparam("streams", type_=ARRAY(Text)),
    bindparam("sizes", type_=ARRAY(BigInteger)),
    bindparam("sums", type_=ARRAY(Text)),
    bindparam("cuts", type_=ARRAY(Boolean)),
)


class Member(NamedTuple):
    """One execution of a step group."""

    id: UUID
    run_reason: RunReason
    status: Status
    kill_asked: bool
    """Whether a kill was requested. The status may still be `failed`, if not all processes could be killed."""


@dataclass(frozen=True)
class Ending:
    """An execution whose lane is locked, or which is locked itself if it has no workspace, with its group and run."""

    id: UUID
    subject: Place
    """Workspace or project that its events belong to."""
    group_id: UUID
    session_id: UUID | None
    run_id: UUID | None
    run_reason: RunReason
    action: Action
    lane_position: int
    created_by: str
    node_id: str | None
    """Node of its workspace."""
    holder: UUID | None
    """The step group that holds the lane; None: it is free."""
    members: Sequence[Member]
    """Its step group, itself included."""
    of_run: Sequence[run.Member]
    """The executions of its run, itself included; empty without a run."""

    @property
    def kill_asked(self) -> bool:
        """Whether a kill of this execution was requested."""
        return any(member.kill_asked for member in self.members if member.id == self.id)

    def group_after(self, transition: Transition) -> list[Member]:
        """Return the step group as it is after an end of this execution."""
        return [one._replace(status=transition.target) if one.id == self.id else one for one in self.members]

    def run_after(self, transition: Transition, *, goes_on: bool) -> RunState | None:
        """Return the state of the run after an end of this execution; None without a run.

        Args:
            transition: the end.
            goes_on: whether the next step group of the chain is created in this transaction.
        """
        if not self.of_run:
            return None
        latest = max(time for one in self.of_run for time in (one.created_at, one.completed_at) if time is not None)
        now = latest + timedelta(microseconds=1)  # only the order matters: Postgres' clock writes the time
        status, reason = transition.target, transition.reason
        members = [
            replace(one, status=status, reason=reason, completed_at=now) if one.id == self.id else one
            for one in self.of_run
        ]
        following = [run.Member(uuid4(), Status.QUEUED, None, None, now, None, None)] if goes_on else []
        return run.state_of([*members, *following])


class NewEnd(NamedTuple):
    """The values of an end to write, beside those of its transition."""

    fence: int | None
    """The expected fence; None: any, for an execution without an owner."""
    left_on: str | None
    log_ends: Mapping[str, StreamEnd]
    releases_lane: bool
    setup_done: bool
    """Whether the last setup script of the workspace has completed."""
    moves_task: bool
    """Whether the status of the task becomes `inreview`."""
    chain_over: bool
    """Whether the next chain in the lane may start."""
    run: RunState | None


class Written(NamedTuple):
    """The outcome of `write`."""

    closed: frozenset[str]
    """The streams that were closed."""
    next_ids: Sequence[UUID]
    """The executions that are first in the lane now; only if the chain is over."""
    run_completed: bool


def lock(connection: Connection, execution_id: UUID) -> Ending:
    """Lock the lane of an execution, and return what decides about its end.

    Until the end of the transaction, no execution of its workspace is claimed, adopted, killed or ended by others.
    """
    row = connection.execute(_LOCK, {"execution": execution_id}).one()
    return Ending(
        execution_id,
        Place(row.workspace_id, row.project_id),
        row.group_id,
        row.session_id,
        row.run_id,
        RunReason(row.run_reason),
        action_from_json(row.executor_action),
        row.lane_position,
        row.created_by,
        row.node_id,
        row.holder,
        [
            Member(UUID(one["id"]), RunReason(one["run_reason"]), Status(one["status"]), one["kill_asked"])
            for one in row.members
        ],
        [_of_run(one) for one in row.of_run or ()],
    )


def _of_run(one: Mapping[str, Any]) -> run.Member:
    reason, retry_of, started, completed = (one[name] for name in ("reason", "retry_of", "started_at", "completed_at"))
    return run.Member(
        UUID(one["id"]),
        Status(one["status"]),
        Reason(reason) if reason else None,
        UUID(retry_of) if retry_of else None,
        datetime.fromisoformat(one["created_at"]),
        datetime.fromisoformat(started) if started else None,
        datetime.fromisoformat(completed) if completed else None,
    )


def payload_of(transition: Transition) -> dict[str, Any]:
    """Return the payload of the terminal event."""
    return {
        "status": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "error_reason": transition.error_reason,
    }


def write(connection: Connection, execution_id: UUID, transition: Transition, new: NewEnd) -> Written | None:
    """Write the end of an execution of a workspace, with its terminal event, if it has the expected status and fence.

    Returns:
        None if it has not; then nothing was written.
    """
    names = sorted(new.log_ends)
    ends = [new.log_ends[name] for name in names]
    values = {
        "execution": execution_id,
        "fence": new.fence,
        "source": transition.source,
        "target": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "message": transition.error_reason,
        "left_on": new.left_on,
        "streams": names,
        "sizes": [end.bytes for end in ends],
        "sums": [end.sha256 for end in ends],
        "cuts": [end.truncated for end in ends],
        "kind": TERMINAL[transition.target],
        "payload": payload_of(transition),
        "releases_lane": new.releases_lane,
        "setup_done": new.setup_done,
        "moves_task": new.moves_task,
        "chain_over": new.chain_over,
        "run_status": new.run and new.run.status,
        "run_conclusion": new.run and new.run.conclusion,
        "run_deciding": new.run and new.run.deciding,
    }
    row = connection.execute(_WRITE, values).one()
    return Written(frozenset(row.closed or ()), row.next_ids or (), row.run_completed) if row.written else None
