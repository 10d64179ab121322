"""Repeating what failed or was killed, in the same workspace.

A retry is a new execution with an id of its own, not a further `attempt` of the old row: an ended operation has its one
terminal event and its log, and both stay what they are. (`attempt` belongs to one operation: its task id is made of it,
so that copies of a message share it.) `retry_of` names the old one. Each execution is repeated once; when that fails,
the repetition is what is repeated, so a chain can never be set going twice from one place.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, select, update

from relay_core.domain import chain
from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.step import AgentStep, DevServerStep, Step
from relay_core.domain.vocabulary import RunReason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import lane, sessions, stop_resume, submission
from relay_core.store.workspaces.submission import AddedStep

E = ExecutionProcess


def retry_execution(connection: Connection, execution_id: UUID, by: str, *, run_agent_again: bool) -> AddedStep:
    """Queue an execution again, at the end of the lane, with what followed it and never came to run.

    Siblings that did not complete either are repeated with it, as the chain waits for all of them. A clone is repeated
    as `retry_workspace` does. In a workspace that is stopped, or whose node is offline, it waits.

    Args:
        connection: one transaction.
        execution_id: one that the caller may see.
        by: owner of the new execution.
        run_agent_again: an agent may have changed anything before it ended, so it is repeated on this word only.

    Raises:
        NotFound: there is no such execution.
        Conflict: `execution_not_ended`, `execution_completed`, `already_retried`, `agent_not_confirmed`,
            `workspace_gone`, `workspace_archived`, `workspace_failed`, `dev_server_running`,
            `follow_up_queued`.
    """
    found = connection.scalar(select(E.workspace_id).where(E.id == execution_id))
    if found is None:
        raise NotFound(f"there is no execution {execution_id}")
    lane.lock(connection, found)
    row = connection.execute(select(E).where(E.id == execution_id)).mappings().one()
    workspace = connection.execute(select(Workspace).where(Workspace.id == found)).mappings().one()
    _refuse_workspace(workspace, RunReason(row["run_reason"]))
    _refuse_state(connection, row)
    if row["run_reason"] == RunReason.CLONE:
        return retry_workspace(connection, found, by)
    if workspace["state"] == WorkspaceState.FAILED:
        message = f"the workspace has failed ({workspace['error_reason']}); retry the workspace first"
        raise Conflict(message, code="workspace_failed")
    if row["run_reason"] == RunReason.CODING_AGENT and not run_agent_again:
        message = "a coding agent may have changed anything before it ended; say `run_agent_again: true` to run it"
        raise Conflict(message, code="agent_not_confirmed")
    step = _step(row)
    if isinstance(step, AgentStep) and step.follow_up:
        sessions.refuse_second_follow_up(connection, row["session_id"])
    if isinstance(step, DevServerStep):
        submission.refuse_second_server(connection, found, step)
    return _repeat(connection, dict(workspace), *_to_repeat(connection, row), by)


def retry_workspace(connection: Connection, workspace_id: UUID, by: str) -> AddedStep:
    """Prepare a failed workspace again: its clone as a new execution, with the whole chain where none succeeded yet.

    Clones that are there stay as they are, with all that is in them. A workspace that was never prepared may go to
    another node.

    Raises:
        Conflict: `workspace_not_failed`, `workspace_gone`, `workspace_archived`.
    """
    lane.lock(connection, workspace_id)
    workspace = connection.execute(select(Workspace).where(Workspace.id == workspace_id)).mappings().one()
    _refuse_workspace(workspace, RunReason.CLONE)
    of_it = (E.workspace_id == workspace_id) & (E.run_reason == RunReason.CLONE)
    last = connection.execute(select(E).where(of_it).order_by(E.created_at.desc(), E.id)).mappings().first()
    if last is None or workspace["state"] != WorkspaceState.FAILED:
        message = f"the workspace is {workspace['state']}; only one that failed can be prepared again"
        raise Conflict(message, code="workspace_not_failed")
    prepared = connection.scalar(select(func.count()).where(of_it, E.status == Status.COMPLETED))
    action = Action(_step(last)) if prepared else action_from_json(last["executor_action"])
    values: dict[str, Any] = {"state": WorkspaceState.STARTING, "error_reason": None, "requested_state": None}
    if not prepared:
        values["node_id"] = None
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(**values, updated_at=func.now()))
    payload = {"state": WorkspaceState.STARTING, "error_reason": None}
    events.append(connection, workspace_id, EventKind.WORKSPACE_STATE_CHANGED, payload)
    added = _repeat(connection, {**workspace, **values}, [last], [action], by)
    return AddedStep(added.execution_id, transitions.messages(connection, [added.execution_id]))


def _to_repeat(connection: Connection, row: RowMapping) -> tuple[Sequence[RowMapping], Sequence[Action]]:
    """The rows to repeat, the asked one first, and what each becomes: without its chain where that went on."""
    of_group = (E.workspace_id == row["workspace_id"]) & (E.group_id == row["group_id"])
    members = connection.execute(select(E).where(of_group).order_by(E.created_at, E.id)).mappings().all()
    if chain.goes_on([(RunReason(one["run_reason"]), Status(one["status"])) for one in members]):
        return [row], [Action(_step(row))]
    others = [one for one in members if one["status"] != Status.COMPLETED and one["id"] != row["id"]]
    for one in others:
        _refuse_state(connection, one)
    again = [row, *others]
    return again, [action_from_json(member["executor_action"]) for member in again]


def _step(row: RowMapping) -> Step:
    return action_from_json(row["executor_action"]).step


def _repeat(
    connection: Connection,
    workspace: Mapping[str, Any],
    rows: Sequence[RowMapping],
    actions: Sequence[Action],
    by: str,
) -> AddedStep:
    first = rows[0]
    group = transitions.NewGroup(_session(connection, first), first["workspace_id"], actions, by)
    ids = transitions.create_group(connection, group)
    for new, old in zip(ids, rows, strict=True):
        connection.execute(update(E).where(E.id == new).values(retry_of=old["id"]))
    ready = workspace["state"] == WorkspaceState.RUNNING and workspace["requested_state"] is None
    return AddedStep(ids[0], stop_resume.due_steps(connection, first["workspace_id"]) if ready else [])


def _session(connection: Connection, row: RowMapping) -> UUID:
    """The repetition of an agent begins a conversation: beside the one that its session has, if it has one."""
    step = _step(row)
    session_id: UUID = row["session_id"]
    if not isinstance(step, AgentStep) or step.follow_up:
        return session_id
    if sessions.agent_session_before(connection, session_id) is not None:
        return sessions.open_session(connection, row["workspace_id"], step.executor)
    return session_id


def _refuse_state(connection: Connection, row: RowMapping) -> None:
    status = Status(row["status"])
    if not status.final:
        raise Conflict(f"execution {row['id']} is {status}; kill it first", code="execution_not_ended")
    if status is Status.COMPLETED:
        message = "the execution completed; only one that failed or was killed can be retried"
        raise Conflict(message, code="execution_completed")
    again = connection.scalar(select(E.id).where(E.retry_of == row["id"]))
    if again is not None:
        message = f"execution {row['id']} was retried already, as {again}; should that fail, retry that"
        raise Conflict(message, code="already_retried")


def _refuse_workspace(workspace: RowMapping, reason: RunReason) -> None:
    if workspace["deleted_at"] is not None:
        raise Conflict("the workspace was deleted; start a new run", code="workspace_gone")
    if workspace["archived"] and reason is not RunReason.ARCHIVE_SCRIPT:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
