"""The end of an execution, in one transaction.

It writes the status, the recorded results, the closed log and the terminal event, and creates or releases the next step
group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, update

from relay_core.domain import chain
from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale
from relay_core.domain.events import TERMINAL, EventKind
from relay_core.domain.execution import Transition, evidence_state
from relay_core.domain.step import ResetStep
from relay_core.domain.vocabulary import EvidenceState, RunReason, Status, TaskStatus
from relay_core.store import events
from relay_core.store.executions import end_statements
from relay_core.store.executions.drop import drop
from relay_core.store.executions.end_statements import Ending, NewEnd
from relay_core.store.executions.execution_row import existing
from relay_core.store.executions.repo_changes import NOTHING_TO_CLEAN_UP, changed_nothing
from relay_core.store.logs import log_store
from relay_core.store.projects import clones
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, ExecutionProcessRepoState
from relay_core.store.transaction import admit_next, send_after_commit
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


@dataclass(frozen=True)
class _Written:
    """The end to write into the row of an execution, and its condition."""

    transition: Transition
    fence: int | None
    """Expected fence; None: any, for an execution without an owner."""
    left_on: str | None
    """Node on which processes of the execution may still run."""
    log_ends: Mapping[str, "log_store.StreamEnd"]
    """Sizes and checksums of the streams to close."""


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
        Stale: the execution has ended, or another worker owns it; the transaction has to be rolled back.
    """
    evidence = evidence or Evidence()
    ending = end_statements.lock(connection, execution_id)  # a kill request waits from now on, or was made before
    if ending.kill_asked and left_on is None:  # `killed` states that every process is gone
        transition = machine.heeding_kill(transition)
    _record_after_states(connection, execution_id, evidence.repo_states, known=left_on is None)
    if evidence.turn:
        turn = update(CodingAgentTurn).where(CodingAgentTurn.execution_process_id == execution_id)
        connection.execute(turn.values(**evidence.turn))
    for kind, payload in evidence.events:
        events.append_to_execution(connection, execution_id, ending.subject, kind, payload)
    step = ending.action.step
    if isinstance(step, ResetStep) and step.drop_from is not None and transition.target is Status.COMPLETED:
        drop(connection, existing(ending.subject.workspace_id), step.drop_from, execution_id)
    if transition.target is Status.COMPLETED and chain.cleans_up(ending.action):
        ending = _without_needless_cleanups(connection, ending)
    ends = evidence.log_ends
    if left_on is not None:
        ends = {name: end._replace(truncated=True) for name, end in ends.items()}
    if not _end(connection, ending, _Written(transition, fence, left_on, ends)):
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")
    return transition


def _without_needless_cleanups(connection: Connection, ending: Ending) -> Ending:
    """Return the end of an agent's turn without the cleanup scripts of its chain, if the turn changed nothing."""
    if not changed_nothing(connection, ending.id):
        return ending
    kind, payload = EventKind.EXECUTION_CLEANUP_SKIPPED, {"message": NOTHING_TO_CLEAN_UP}
    events.append_to_execution(connection, ending.id, ending.subject, kind, payload)
    return replace(ending, action=chain.without_cleanups(ending.action))


def end_queued(connection: Connection, execution_id: UUID, transition: Transition) -> bool:
    """End an execution that no worker has claimed, and let the next step group start.

    Returns:
        True if it was ended here; False if a worker had claimed it or it had ended before.
    """
    ending = end_statements.lock(connection, execution_id)
    return _end(connection, ending, _Written(transition, None, None, {}))


def _end(connection: Connection, ending: Ending, end: _Written) -> bool:
    """Write an end, if the execution has the expected status and fence; return whether it has.

    Args:
        connection: one transaction of `Database`.
        ending: the execution, whose lane is locked.
        end: the end to write.

    Raises:
        Stale: a stream cannot be closed (`log_store.close`).
    """
    if ending.subject.workspace_id is None:
        return _end_of_project(connection, ending, end)
    transition = end.transition
    after = lane.after_end(ending, transition)
    clone_failed = ending.run_reason is RunReason.CLONE and transition.target is not Status.COMPLETED
    new = NewEnd(
        end.fence,
        end.left_on,
        end.log_ends,
        after.releases,
        after.setup_done,
        after.moves_task and not clone_failed,
        after.chain_over,
        ending.run_after(transition, goes_on=bool(after.following)),
    )
    written = end_statements.write(connection, ending.id, transition, new)
    if written is None:
        return False
    log_store.check_closed(ending.id, end.fence, end.log_ends, written.closed)
    if clone_failed:  # its event comes before that of the task
        preparation.preparation_failed(connection, ending.subject.workspace_id, transition)
        if after.moves_task:
            lane.set_task_status(connection, ending.subject.workspace_id, TaskStatus.INREVIEW)
    due = lane.create_next(connection, ending, after.following) if after.following else written.next_ids
    send_after_commit(connection, due)
    if written.run_completed:
        admit_next(connection)
    return True


def _end_of_project(connection: Connection, ending: Ending, end: _Written) -> bool:
    """Write the end of the clone of a project, which has no lane and no run, and settle the project."""
    transition = end.transition
    if not _write_end(connection, ending.id, transition, fence=end.fence, leftover_on=end.left_on):
        return False
    if end.log_ends and end.fence is not None:
        log_store.close(connection, ending.id, end.fence, end.log_ends)
    kind, payload = TERMINAL[transition.target], end_statements.payload_of(transition)
    events.append_to_execution(connection, ending.id, ending.subject, kind, payload, terminal=True)
    if ending.subject.project_id is not None:
        clones.ended(connection, ending.subject.project_id, ending.id, transition)
    return True


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
