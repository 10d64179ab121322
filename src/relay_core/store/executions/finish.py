"""The end of an execution, in one transaction.

It writes the status, the recorded results, the closed log and the terminal event, and creates or releases the next step
group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale
from relay_core.domain.events import TERMINAL, EventKind
from relay_core.domain.execution import Transition, evidence_state
from relay_core.domain.vocabulary import EvidenceState, RunReason, Status
from relay_core.store import events
from relay_core.store.logs import log_store
from relay_core.store.projects import clones
from relay_core.store.runs import state
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, ExecutionProcessRepoState
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces import lane, preparation

E = ExecutionProcess


EvidenceEvent = tuple[EventKind, Mapping[str, Any]]
"""Kind and payload of an event to append."""


@dataclass(frozen=True)
class Evidence:
    """Results of an execution that are stored together with its end.

    They are the git states of the repos, the final sizes of the log, the agent's turn, and events.
    """

    repo_states: Mapping[UUID, Mapping[str, Any]] = field(default_factory=dict)
    """Columns of `ExecutionProcessRepoState`, the git state after the step, by repo id."""
    log_ends: Mapping[str, "log_store.StreamEnd"] = field(default_factory=dict)
    """Final size and checksum by stream; a stream without an entry is not closed."""
    turn: Mapping[str, Any] | None = None
    """Columns of `CodingAgentTurn`; None if the execution is no agent's turn."""
    events: Sequence[EvidenceEvent] = ()
    """Events to append before the terminal event."""


class _Place(NamedTuple):
    """Workspace or project, step group, run reason and run of an execution that ends."""

    workspace_id: UUID | None
    project_id: UUID | None
    group_id: UUID
    run_reason: str
    run_id: UUID | None

    @property
    def subject(self) -> events.Place:
        """Workspace or project that its events belong to."""
        return events.Place(self.workspace_id, self.project_id)


def finish(
    connection: Connection,
    execution_id: UUID,
    fence: int,
    transition: Transition,
    evidence: Evidence | None = None,
    *,
    left_on: str | None = None,
) -> Transition:
    """End a running execution, and let the next step group of its chain or lane start; all or nothing.

    A kill that was requested before this transaction takes precedence: the execution ends as `killed` whatever
    ``transition`` is, and its chain does not continue. The exception is ``left_on``, because `killed` states that every
    process is gone.

    Args:
        connection: one transaction of `Database`; messages of executions that may start now are sent after its commit.
        execution_id: the execution to end.
        fence: fence of the caller's claim.
        transition: the end that the caller found.
        evidence: results of the step (git states, log sizes, …) to store with the end.
        left_on: node on which processes of the execution may still run, because the caller could not verify that they
            are gone; None: all are gone. If given, the log is marked as truncated, and no step starts in the workspace
            until that node has killed the processes (`leftovers`).

    Returns:
        The end that was written.

    Raises:
        Stale: the execution has ended, or another worker owns it; nothing was written.
    """
    evidence = evidence or Evidence()
    row = _place(connection, execution_id)
    _lock(connection, execution_id, row)  # a kill request waits from now on, or was made before and is seen below
    kill_asked = connection.scalar(select(E.kill_requested_at).where(E.id == execution_id)) is not None
    if kill_asked and left_on is None:  # `killed` states that every process is gone
        transition = machine.heeding_kill(transition)
    if not _write_end(connection, execution_id, transition, fence=fence, leftover_on=left_on):
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")
    _record_after_states(connection, execution_id, evidence.repo_states, known=left_on is None)
    ends = evidence.log_ends
    if ends:
        cut = {name: end._replace(truncated=True) for name, end in ends.items()}
        log_store.close(connection, execution_id, fence, ends if left_on is None else cut)
    if evidence.turn:
        turn = update(CodingAgentTurn).where(CodingAgentTurn.execution_process_id == execution_id)
        connection.execute(turn.values(**evidence.turn))
    for kind, payload in evidence.events:
        events.append_to_execution(connection, execution_id, row.subject, kind, payload)
    _after_the_end(connection, execution_id, row, transition)
    return transition


def end_queued(connection: Connection, execution_id: UUID, transition: Transition) -> bool:
    """End an execution that no worker has claimed, and let the next step group start.

    Returns:
        True if it was ended here; False if a worker had claimed it or it had ended before.
    """
    row = _place(connection, execution_id)
    _lock(connection, execution_id, row)
    if not _write_end(connection, execution_id, transition, fence=None):
        return False
    _after_the_end(connection, execution_id, row, transition)
    return True


def _place(connection: Connection, execution_id: UUID) -> _Place:
    columns = (E.workspace_id, E.project_id, E.group_id, E.run_reason, E.run_id)
    return _Place(*connection.execute(select(*columns).where(E.id == execution_id)).one())


def _lock(connection: Connection, execution_id: UUID, place: _Place) -> None:
    """Lock the lane of an execution, or the execution itself if it has none."""
    if place.workspace_id is not None:
        lane.lock(connection, place.workspace_id)
    else:
        connection.execute(select(E.id).where(E.id == execution_id).with_for_update())


def _write_end(
    connection: Connection, execution_id: UUID, transition: Transition, *, fence: int | None, **fields: Any
) -> bool:
    """Write an end, if the row has the expected status and fence.

    Args:
        connection: one transaction.
        execution_id: the execution.
        transition: the change of status.
        fence: expected fence; None: any, for an execution without an owner.
        fields: further columns to write.

    Returns:
        Whether the row was written.
    """
    values: dict[str, Any] = {
        "status": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "error_reason": transition.error_reason,
        "completed_at": func.clock_timestamp() if transition.final else None,
        **fields,
    }
    statement = update(E).where(E.id == execution_id, E.status == transition.source).values(values)
    if fence is not None:
        statement = statement.where(E.fence == fence)
    return connection.execute(statement).rowcount == 1


def _record_after_states(
    connection: Connection, execution_id: UUID, states: Mapping[UUID, Mapping[str, Any]], *, known: bool
) -> None:
    """Store the git state after a step by repo id; without any, mark that of the step's repos as unavailable.

    It is marked so, too, if it is not ``known``, because processes of the step may still change it.
    """
    state = ExecutionProcessRepoState
    for repo_id, fields in states.items():
        row = update(state).where(state.execution_process_id == execution_id, state.repo_id == repo_id)
        told = evidence_state(fields.get("after_head_commit"), fields.get("problem"))
        values = {"after_state": told if known else EvidenceState.UNAVAILABLE, **fields}
        if connection.execute(row.values(**values)).rowcount == 0:
            connection.execute(insert(state).values(execution_process_id=execution_id, repo_id=repo_id, **values))
    if not states:
        pending = update(state).where(
            state.execution_process_id == execution_id, state.after_state == EvidenceState.PENDING
        )
        connection.execute(pending.values(after_state=EvidenceState.UNAVAILABLE))


def _after_the_end(connection: Connection, execution_id: UUID, place: _Place, transition: Transition) -> None:
    """Append the terminal event, pass the lane on, and write the state of the run.

    If a clone did not complete, its workspace becomes `failed`; a clone without a workspace settles its project.
    """
    payload = {
        "status": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "error_reason": transition.error_reason,
    }
    kind = TERMINAL[transition.target]
    events.append_to_execution(connection, execution_id, place.subject, kind, payload, terminal=True)
    if place.workspace_id is None:
        if place.project_id is not None:
            clones.ended(connection, place.project_id, execution_id, transition)
        return
    if place.run_reason == RunReason.CLONE and transition.target is not Status.COMPLETED:
        preparation.preparation_failed(connection, place.workspace_id, transition)
    in_lane = RunReason(place.run_reason).in_lane
    send_after_commit(connection, lane.leave(connection, place.workspace_id, place.group_id) if in_lane else [])
    state.settle(connection, place.run_id)
