"""Follow-ups: the next turn of a session, in which the agent continues its conversation."""

from uuid import UUID

from sqlalchemy import Connection, RowMapping, select

from relay_core.domain import chain
from relay_core.domain.agents.executors import check_prompt
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.run_notes import NO_NOTES, RunNotes
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.executions.action_json import action_from_json, executor_from_json
from relay_core.store.schema.tables import ExecutionProcess, Session
from relay_core.store.shared import tags
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import lane, sessions
from relay_core.store.workspaces.add_step import agent_dir, queue_step, repo_scripts

E = ExecutionProcess


def add_follow_up(
    connection: Connection,
    session_id: UUID,
    prompt: str,
    principal: Principal,
    notes: RunNotes = NO_NOTES,
    *,
    with_tags: bool = False,
) -> UUID:
    """Queue the next turn of a session behind the steps that hold or wait for the workspace's lane.

    Args:
        connection: one transaction of `Database`; if the turn may start, its message is sent after the commit.
        session_id: the session.
        prompt: text for the agent.
        principal: owner of the new execution.
        notes: notes on the run that the turn makes.
        with_tags: whether the prompt has the contents of its tags already, as that of an earlier turn.

    Returns:
        Id of the new execution.

    Raises:
        NotFound: there is no such session, or it belongs to another owner.
        InvalidInput: the prompt is blank or with its tags too long, or the notes cannot be stored.
        Conflict: `cannot_resume`: the session's executor cannot continue conversations; `follow_up_queued`: a follow-up
            is queued already; or the workspace accepts no more steps (see `add_step.queue_step`).
    """
    found = connection.execute(sessions.visible(principal).where(Session.id == session_id)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no session {session_id}")
    if not sessions.can_resume(found["executor"]):
        message = (
            f"{found['executor']} cannot go on with a conversation; add a coding_agent step to the workspace instead"
        )
        raise Conflict(message, code="cannot_resume")
    check_prompt(found["executor"], prompt)
    notes.check()
    lane.lock(connection, found["workspace_id"])
    refuse_second_follow_up(connection, session_id)
    executor = executor_from_json(found["executor_config"])
    text = prompt if with_tags else tags.expand(connection, prompt, principal.owner)
    step = AgentStep(executor, text, _cwd(connection, found), follow_up=True)
    plan = chain.plan_follow_up(repo_scripts(connection, found["workspace_id"]), step)
    return queue_step(connection, found["workspace_id"], plan, principal, session_id=session_id, notes=notes)


def refuse_second_follow_up(connection: Connection, session_id: UUID) -> None:
    """Raise an error if the session has a queued follow-up. The caller holds the lock on the lane.

    Raises:
        Conflict: `follow_up_queued`.
    """
    queued = select(E.id).where(
        E.session_id == session_id,
        E.status == Status.QUEUED,
        E.run_reason == RunReason.CODING_AGENT,
        E.executor_action["step"]["follow_up"].as_boolean(),
    )
    waiting = connection.scalar(queued)
    if waiting is not None:
        message = f"a follow-up of this session is queued already: kill execution {waiting} to say something else"
        raise Conflict(message, code="follow_up_queued")


def _cwd(connection: Connection, row: RowMapping) -> str:
    """Return the directory of the session's latest turn, for the next one.

    It must be the same, because agents find a conversation by its directory.
    """
    newest = select(E.executor_action).where(E.session_id == row["id"], E.run_reason == RunReason.CODING_AGENT)
    action = connection.scalar(newest.order_by(E.created_at.desc()).limit(1))
    if action is not None:
        return action_from_json(action).step.cwd
    workspace_id = row["workspace_id"]
    return chain.agent_cwd(repo_scripts(connection, workspace_id), agent_dir(connection, workspace_id))
