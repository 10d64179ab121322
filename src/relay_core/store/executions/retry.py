"""Retries: an execution that failed or was killed is repeated in the same workspace.

A retry is a new execution with its own id, not another `attempt` of the old row: the old one keeps its terminal event
and its log unchanged. (`attempt` counts within one execution; the task id is made of it, so that copies of a message
share one id.) The new row names the old one in `retry_of`. An execution can be retried once; after that, the retry can
be retried. So the same chain never continues twice from one place.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, func, select, update

from relay_core.domain import chain
from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.step import AgentStep, DevServerStep, MergeStep, ResetStep, Step
from relay_core.domain.vocabulary import RunKind, RunReason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.merges import requests
from relay_core.store.projects import clones
from relay_core.store.runs import state
from relay_core.store.runs.create import NewRun, create_run
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces import condition, dev_servers, follow_up, idle, lane, sessions, stop_resume
from relay_core.store.workspaces.condition import WorkspaceCondition

E = ExecutionProcess


def retry_execution(
    connection: Connection, execution_id: UUID, by: str, *, run_agent_again: bool, run_id: UUID | None = None
) -> UUID:
    """Queue an execution again at the end of the lane, with the steps of its chain that never ran.

    Other executions of its step group that did not complete are repeated with it, as the chain waits for all of them. A
    clone is repeated as `retry_workspace` does it. In a workspace that is stopped, or whose node is offline, the new
    execution waits.

    Args:
        connection: one transaction of `Database`; messages of executions that may start are sent after its commit.
        execution_id: an execution that the caller may see.
        by: owner of the new execution.
        run_agent_again: must be true for the turn of an agent, which may have changed anything before it ended.
        run_id: run of the new execution; None: that of the execution that it repeats, which goes on.

    Returns:
        Id of the new execution.

    Raises:
        NotFound: there is no such execution.
        Conflict: `execution_not_ended`, `execution_completed`, `already_retried`, `agent_not_confirmed`,
            `workspace_gone`, `workspace_archived`, `workspace_failed`, `workspace_diverged`, `dev_server_running`,
            `follow_up_queued`; for a merge `merge_pending`, `pull_request_open`; for a return to an earlier execution
            `stale_generation`; for an archive script `workspace_stopped`; for the clone of a project
            `project_cloning`, `project_gone`.
    """
    lane.lock_of(connection, execution_id)
    mapping = connection.execute(select(E).where(E.id == execution_id)).mappings().one_or_none()
    if mapping is None:
        raise NotFound(f"there is no execution {execution_id}")
    row = ExecutionRow.from_row(mapping)
    if row.in_workspace is None:
        return _clone_project_again(connection, row, mapping["pool"], by)
    found = row.in_workspace
    workspace = condition.read(connection, found)
    _refuse_workspace(workspace, row.run_reason)
    workspace.refuse_if_diverged(row.run_reason)
    _refuse_state(connection, row)
    if row.run_reason is RunReason.CLONE:
        return retry_workspace(connection, found, by, run_id=run_id)
    if workspace.state is WorkspaceState.FAILED:
        message = f"the workspace has failed ({workspace.error_reason}); retry the workspace first"
        raise Conflict(message, code="workspace_failed")
    if row.run_reason is RunReason.CODING_AGENT and not run_agent_again:
        message = "a coding agent may have changed anything before it ended; say `run_agent_again: true` to run it"
        raise Conflict(message, code="agent_not_confirmed")
    step = row.action.step
    if isinstance(step, AgentStep) and step.follow_up:
        follow_up.refuse_second_follow_up(connection, row.session_id)
    refuse_repetition(connection, found, step)
    if isinstance(step, DevServerStep):
        dev_servers.refuse_second_server(connection, found, step)
    new = _repeat(connection, *_to_repeat(connection, row), by, run_id)
    idle.wake(connection, workspace, by, row.run_reason)
    if workspace.state is WorkspaceState.RUNNING and workspace.requested_state is None:
        stop_resume.send_due_steps(connection, found)
    return new


def retry_workspace(connection: Connection, workspace_id: UUID, by: str, *, run_id: UUID | None = None) -> UUID:
    """Prepare a failed workspace again, by queuing its clone as a new execution.

    If no clone of the workspace ever completed, the whole chain follows. Clones that exist on the node are kept with
    all their content. A workspace that was never prepared may go to another node.

    Args:
        connection: one transaction of `Database`; the clone's message is sent after its commit.
        workspace_id: a workspace that the caller may see.
        by: owner of the new execution.
        run_id: run of the new execution; None: that of the clone that it repeats, which goes on.

    Returns:
        Id of the new execution.

    Raises:
        Conflict: `workspace_not_failed`, `workspace_gone`, `workspace_archived`, `workspace_diverged`.
    """
    lane.lock(connection, workspace_id)
    workspace = condition.read(connection, workspace_id)
    _refuse_workspace(workspace, RunReason.CLONE)
    workspace.refuse_if_diverged(RunReason.CLONE)
    of_it = (E.workspace_id == workspace_id) & (E.run_reason == RunReason.CLONE)
    last = connection.execute(select(E).where(of_it).order_by(E.created_at.desc(), E.id)).mappings().first()
    if last is None or workspace.state is not WorkspaceState.FAILED:
        message = f"the workspace is {workspace.state}; only one that failed can be prepared again"
        raise Conflict(message, code="workspace_not_failed")
    row = ExecutionRow.from_row(last)
    here = E.fence > 0  # an imported clone completed in another Relay
    prepared = connection.scalar(select(func.count()).where(of_it, here, E.status == Status.COMPLETED))
    action = Action(row.action.step) if prepared else row.action
    values: dict[str, Any] = {"state": WorkspaceState.STARTING, "error_reason": None, "requested_state": None}
    if not prepared:
        # The recorded state that a fork starts from is on its node alone.
        values["node_id"] = case((Workspace.forked_from.is_not(None), Workspace.node_id))
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(**values, updated_at=func.now()))
    stop_resume.drop_request(connection, workspace_id, "the workspace is prepared again")
    payload = {"state": WorkspaceState.STARTING, "error_reason": None}
    events.append(connection, workspace_id, EventKind.WORKSPACE_STATE_CHANGED, payload)
    new = _repeat(connection, [row], [action], by, run_id)
    send_after_commit(connection, [new])
    return new


def refuse_repetition(connection: Connection, workspace_id: UUID, step: Step) -> None:
    """Raise an error if a git act cannot be repeated as it is. The caller holds the lane.

    Raises:
        Conflict: `merge_pending`, `pull_request_open`: another merge of the repository is in the way.
            `stale_generation`: it goes back to an earlier execution.
    """
    if isinstance(step, MergeStep):
        requests.refuse_beside_another(connection, workspace_id, step.merge_id)
    if isinstance(step, ResetStep) and step.drop_from is not None:
        message = "to go back to an execution is decided on a preview of what is dropped; ask for resume-at again"
        raise Conflict(message, code="stale_generation")


def note_repetition(connection: Connection, step: Step, execution_id: UUID) -> None:
    """Store that a new execution repeats a step: a merge is pending again."""
    if isinstance(step, MergeStep):
        requests.set_execution(connection, step.merge_id, execution_id)


def _clone_project_again(connection: Connection, row: ExecutionRow, pool: str, by: str) -> UUID:
    _refuse_state(connection, row)
    if row.project_id is None or clones.why_gone(connection, row.project_id):
        raise Conflict("the project was deleted", code="project_gone")
    return clones.start_clone(connection, row.project_id, pool, by, retry_of=row.id)


def _to_repeat(connection: Connection, row: ExecutionRow) -> tuple[Sequence[ExecutionRow], Sequence[Action]]:
    """Return the executions to repeat, ``row`` first, and the action of the new execution for each.

    If the chain continued after the step group, only ``row`` is repeated, without the steps that followed.
    """
    of_group = (E.workspace_id == row.workspace_id) & (E.group_id == row.group_id)
    rows = connection.execute(select(E).where(of_group).order_by(E.created_at, E.id)).mappings()
    members = [ExecutionRow.from_row(member) for member in rows]
    if chain.goes_on([(member.run_reason, member.status) for member in members]):
        return [row], [Action(row.action.step)]
    others = [member for member in members if member.status is not Status.COMPLETED and member.id != row.id]
    for other in others:
        _refuse_state(connection, other)
    again = [row, *others]
    return again, [member.action for member in again]


def _repeat(
    connection: Connection, rows: Sequence[ExecutionRow], actions: Sequence[Action], by: str, run_id: UUID | None
) -> UUID:
    """Insert the new executions as one step group of a run; None: the run that `_run` chooses.

    Returns:
        Id of the first.
    """
    first = rows[0]
    run_id = run_id or _run(connection, first, by)
    ids = create_group(connection, NewGroup(_session(connection, first), first.workspace_id, actions, by, run_id))
    for new, old in zip(ids, rows, strict=True):
        connection.execute(update(E).where(E.id == new).values(retry_of=old.id))
        note_repetition(connection, old.action.step, new)
    state.settle(connection, run_id)
    return ids[0]


def _run(connection: Connection, row: ExecutionRow, by: str) -> UUID | None:
    """Return the run of the new execution: the one of the execution that it repeats, which goes on.

    A clone that completed is repeated to prepare its workspace again; that is a run of its own, and the run in which
    the clone had completed stays as it is.
    """
    if row.run_id is None or row.status is not Status.COMPLETED:
        return row.run_id
    return create_run(connection, NewRun(row.workspace_id, row.session_id, RunKind.STEP, "Prepare the workspace", by))


def _session(connection: Connection, row: ExecutionRow) -> UUID:
    """Return the session for the new execution.

    It is a new one if the step begins a conversation and the old session has one already.
    """
    step = row.action.step
    if not isinstance(step, AgentStep) or step.follow_up:
        return row.session_id
    if sessions.agent_session_before(connection, row.session_id) is not None:
        return sessions.open_session(connection, row.workspace_id, step.executor)
    return row.session_id


def _refuse_state(connection: Connection, row: ExecutionRow) -> None:
    if not row.status.final:
        raise Conflict(f"execution {row.id} is {row.status}; kill it first", code="execution_not_ended")
    if row.status is Status.COMPLETED:
        message = "the execution completed; only one that failed or was killed can be retried"
        raise Conflict(message, code="execution_completed")
    again = connection.scalar(select(E.id).where(E.retry_of == row.id))
    if again is not None:
        message = f"execution {row.id} was retried already, as {again}; should that fail, retry that"
        raise Conflict(message, code="already_retried")


def _refuse_workspace(workspace: WorkspaceCondition, reason: RunReason) -> None:
    if workspace.deleted:
        raise Conflict("the workspace was deleted; start a new run", code="workspace_gone")
    if workspace.archived and reason is not RunReason.ARCHIVE_SCRIPT:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
