"""Sessions: conversations with an agent in a workspace. The executor of a session never changes."""

from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, RowMapping, Select, func, insert, select

from relay_core.domain.agents.executors import EXECUTORS, ExecutorChoice
from relay_core.domain.errors import NotFound
from relay_core.store.executions.action_json import executor_from_json
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, Session, Workspace
from relay_core.store.tokens import Principal

E = ExecutionProcess
TURNS = 100
"""Most turns with which the API shows a session; older turns are left out."""
SESSIONS = 100
"""Most sessions in the list of a workspace; older sessions are left out."""


def latest_executor(connection: Connection, workspace_id: UUID) -> ExecutorChoice:
    """Return the executor of the workspace's latest session; every workspace has a session."""
    newest = select(Session.executor_config).where(Session.workspace_id == workspace_id)
    config = connection.execute(newest.order_by(Session.created_at.desc()).limit(1)).scalar_one()
    return executor_from_json(config or {})


def open_session(connection: Connection, workspace_id: UUID, executor: ExecutorChoice) -> UUID:
    """Insert a session; it is the workspace's latest from now on.

    Returns:
        Id of the session.
    """
    session_id = uuid4()
    values = {"workspace_id": workspace_id, "executor": executor.name, "executor_config": executor.as_json()}
    connection.execute(insert(Session).values(id=session_id, created_at=func.clock_timestamp(), **values))
    return session_id


def agent_session_before(connection: Connection, session_id: UUID, execution_id: UUID | None = None) -> str | None:
    """Return the id that the agent itself gave to a session's conversation.

    It is taken from the newest turn that has one and is not dropped; None if no such turn has one.

    Args:
        connection: any transaction.
        session_id: the session.
        execution_id: a turn to leave out; None: consider all turns.
    """
    found = (
        select(CodingAgentTurn.agent_session_id)
        .join(E, E.id == CodingAgentTurn.execution_process_id)
        .where(E.session_id == session_id, E.dropped.is_(False), CodingAgentTurn.agent_session_id.is_not(None))
    )
    if execution_id is not None:
        found = found.where(E.id != execution_id)
    newest = found.order_by(E.started_at.desc(), E.id).limit(1)
    return connection.execute(newest).scalar_one_or_none()


class Conversation(NamedTuple):
    """The conversation that the next turn of a session continues."""

    agent_session_id: str
    agent_message_id: str | None
    """The last message of the newest turn that is not dropped; None: the agent told none."""
    rewound: bool
    """Whether the conversation has later messages, of turns that are dropped."""


def conversation_before(connection: Connection, session_id: UUID, execution_id: UUID) -> Conversation | None:
    """Return the conversation that a turn of a session continues; None if no turn that is not dropped left one.

    Args:
        connection: any transaction.
        session_id: the session.
        execution_id: the turn, which is left out.
    """
    columns = (CodingAgentTurn.agent_session_id, CodingAgentTurn.agent_message_id, E.started_at)
    had = select(*columns).join(E, E.id == CodingAgentTurn.execution_process_id).where(E.session_id == session_id)
    told = had.where(CodingAgentTurn.agent_session_id.is_not(None), E.id != execution_id)
    newest = told.where(E.dropped.is_(False)).order_by(E.started_at.desc(), E.id).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None or row.agent_session_id is None:
        return None
    later = told.where(
        E.dropped, E.started_at > row.started_at, CodingAgentTurn.agent_session_id == row.agent_session_id
    )
    rewound = connection.execute(later.limit(1)).one_or_none() is not None
    return Conversation(row.agent_session_id, row.agent_message_id, rewound)


def session(connection: Connection, session_id: UUID, principal: Principal) -> dict[str, Any]:
    """Return one session with its turns, as the API shows it.

    Raises:
        NotFound: there is no such session, or it belongs to another owner.
    """
    row = connection.execute(visible(principal).where(Session.id == session_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no session {session_id}")
    return _view(connection, row)


def of_workspace(connection: Connection, workspace_id: UUID, principal: Principal) -> list[dict[str, Any]]:
    """Return the last `SESSIONS` sessions of a workspace in the order of their creation.

    Each has its last turn only.
    """
    newest = visible(principal).where(Session.workspace_id == workspace_id)
    newest = newest.order_by(Session.created_at.desc(), Session.id).limit(SESSIONS)
    return [_view(connection, row, turns=1) for row in connection.execute(newest).mappings()][::-1]


def visible(principal: Principal) -> Select[Any]:
    """Return a statement that selects the sessions that a principal may see, with workspace, executor and time."""
    own = (Session.executor, Session.executor_config, Session.profile, Session.created_at)
    statement = select(Session.id, Session.workspace_id, *own).join(Workspace, Workspace.id == Session.workspace_id)
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
            turn.agent_message_id,
            turn.usage,
            turn.seen,
            E.created_at,
            E.completed_at,
        )
        .join(turn, turn.execution_process_id == E.id)
        .where(E.session_id == row["id"])
        .order_by(E.created_at.desc(), E.id)
    )
    last = [dict(turn_row) for turn_row in connection.execute(statement.limit(turns)).mappings()]
    shown = {name: row[name] for name in ("id", "workspace_id", "executor", "profile", "created_at")}
    return {
        **shown,
        "agent_session_id": agent_session_before(connection, row["id"]),
        "can_resume": can_resume(row["executor"]),
        "turns": last[::-1],
    }


def can_resume(executor: str | None) -> bool:
    """Return whether the agents of an executor can continue a conversation that they had before."""
    kind = EXECUTORS.get(executor or "")
    return kind is not None and kind.resumes
