"""Sessions: one agent thread inside a workspace, its executor fixed; follow-ups continue it."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, RowMapping, Select, func, insert, select

from relay_core.domain import chain
from relay_core.domain.agents.executors import EXECUTORS, ExecutorChoice, check_prompt
from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.executions.action_json import action_from_json, executor_from_json
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, Session, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import lane, submission
from relay_core.store.workspaces.submission import AddedStep

E = ExecutionProcess
TURNS = 100
"""Most turns that a session is shown with: the last."""
SESSIONS = 100
"""Most sessions of a list: the last."""


def latest_executor(connection: Connection, workspace_id: UUID) -> ExecutorChoice:
    """The executor of the workspace's latest session; every workspace has a session."""
    newest = select(Session.executor_config).where(Session.workspace_id == workspace_id)
    config = connection.execute(newest.order_by(Session.created_at.desc()).limit(1)).scalar_one()
    return executor_from_json(config or {})


def open_session(connection: Connection, workspace_id: UUID, executor: ExecutorChoice) -> UUID:
    """A new session, from now on the workspace's latest."""
    session_id = uuid4()
    values = {"workspace_id": workspace_id, "executor": executor.name, "executor_config": executor.as_json()}
    connection.execute(insert(Session).values(id=session_id, created_at=func.clock_timestamp(), **values))
    return session_id


def agent_session_before(connection: Connection, session_id: UUID, execution_id: UUID | None = None) -> str | None:
    """The agent's own id of a session's conversation: that of its newest turn that has one, `execution_id` excepted."""
    found = (
        select(CodingAgentTurn.agent_session_id)
        .join(E, E.id == CodingAgentTurn.execution_process_id)
        .where(E.session_id == session_id, CodingAgentTurn.agent_session_id.is_not(None))
    )
    if execution_id is not None:
        found = found.where(E.id != execution_id)
    newest = found.order_by(E.started_at.desc(), E.id).limit(1)
    return connection.execute(newest).scalar_one_or_none()


def add_follow_up(connection: Connection, session_id: UUID, prompt: str, principal: Principal) -> AddedStep:
    """Queue the next turn of a session, behind what the workspace's lane already holds.

    Raises:
        NotFound: the session is not there for this principal.
        InvalidInput: the prompt is blank.
        Conflict: `cannot_resume`: its executor knows no conversations; `follow_up_queued`: one waits already;
            or the workspace takes no more steps (`runs.add_step`).
    """
    found = connection.execute(_mine(principal).where(Session.id == session_id)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no session {session_id}")
    if not _can_resume(found["executor"]):
        message = (
            f"{found['executor']} cannot go on with a conversation; add a coding_agent step to the workspace instead"
        )
        raise Conflict(message, code="cannot_resume")
    check_prompt(found["executor"], prompt)
    lane.lock(connection, found["workspace_id"])
    refuse_second_follow_up(connection, session_id)
    executor = executor_from_json(found["executor_config"])
    step = AgentStep(executor, prompt, _cwd(connection, found), follow_up=True)
    return submission.add_step(connection, found["workspace_id"], Action(step), principal, session_id=session_id)


def refuse_second_follow_up(connection: Connection, session_id: UUID) -> None:
    """One follow-up of a session waits at a time, the lane being locked.

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


def session(connection: Connection, session_id: UUID, principal: Principal) -> dict[str, Any]:
    """One session with its turns.

    Raises:
        NotFound: it is not there for this principal.
    """
    row = connection.execute(_mine(principal).where(Session.id == session_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no session {session_id}")
    return _view(connection, row)


def of_workspace(connection: Connection, workspace_id: UUID, principal: Principal) -> list[dict[str, Any]]:
    """The last `SESSIONS` of a workspace in the order of their creation, each with its last turn only."""
    newest = _mine(principal).where(Session.workspace_id == workspace_id)
    newest = newest.order_by(Session.created_at.desc(), Session.id).limit(SESSIONS)
    return [_view(connection, row, turns=1) for row in connection.execute(newest).mappings()][::-1]


def _mine(principal: Principal) -> Select[Any]:
    columns = (Session.id, Session.workspace_id, Session.executor, Session.executor_config, Session.created_at)
    statement = select(*columns).join(Workspace, Workspace.id == Session.workspace_id)
    return statement if principal.only is None else statement.where(Workspace.created_by == principal.only)


def _view(connection: Connection, row: RowMapping, *, turns: int = TURNS) -> dict[str, Any]:
    turn = CodingAgentTurn
    statement = (
        select(
            E.id.label("execution_id"),
            E.status,
            turn.prompt,
            turn.summary,
            turn.agent_session_id,
            turn.usage,
            E.created_at,
            E.completed_at,
        )
        .join(turn, turn.execution_process_id == E.id)
        .where(E.session_id == row["id"])
        .order_by(E.created_at.desc(), E.id)
    )
    last = [dict(one) for one in connection.execute(statement.limit(turns)).mappings()]
    shown = {name: row[name] for name in ("id", "workspace_id", "executor", "created_at")}
    return {
        **shown,
        "agent_session_id": agent_session_before(connection, row["id"]),
        "can_resume": _can_resume(row["executor"]),
        "turns": last[::-1],
    }


def _can_resume(executor: str | None) -> bool:
    kind = EXECUTORS.get(executor or "")
    return kind is not None and kind.resumes


def _cwd(connection: Connection, row: RowMapping) -> str:
    """Where the session's turns run: agents find a conversation by its directory."""
    newest = select(E.executor_action).where(E.session_id == row["id"], E.run_reason == RunReason.CODING_AGENT)
    action = connection.scalar(newest.order_by(E.created_at.desc()).limit(1))
    if action is not None:
        return action_from_json(action).step.cwd
    return chain.agent_cwd(submission.repo_scripts(connection, row["workspace_id"]))
