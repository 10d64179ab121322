"""Queue messages of executions: finds those to send, and those to send again because they may be lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, Uuid, case, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from relay_core.domain.message import MessageDescription, QueueMessage
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.schema.tables import ExecutionProcess, Project, ProjectRepo, Repo, Task, Workspace, WorkspaceRepo

E = ExecutionProcess


def messages_of(connection: Connection, ids: Sequence[UUID]) -> list[QueueMessage]:
    """Return the messages of some executions, in the order in which the executions were created."""
    return _messages(connection, E.id.in_(ids))


def messages_of_runs(connection: Connection, run_ids: Sequence[UUID]) -> list[QueueMessage]:
    """Return the messages of the queued executions of some runs, in the order in which they were created."""
    return _messages(connection, E.run_id.in_(run_ids) & (E.status == Status.QUEUED))


def messages_admitted_at_once(
    connection: Connection, ids: Sequence[UUID], *, freed: bool
) -> tuple[list[QueueMessage], bool]:
    """Admit the runs of some executions if no other run waits, and return the messages of those that are admitted.

    Executions that are not queued are left out. This is one statement.

    Args:
        connection: the transaction, whose last lock this takes.
        ids: executions that may start as far as lane and workspace are concerned.
        freed: whether a place became free, so that it matters whether other runs wait.

    Returns:
        The messages in the order in which the executions were created, and whether runs wait about which the whole
        decision has to be made (`relay_core.store.admission`).
    """
    if not ids and not freed:
        return [], False
    asked = literal(list(dict.fromkeys(ids)), ARRAY(Uuid()))
    answer = func.admit_at_once(asked, freed).table_valued("execution_id", "admitted", name="answer")
    admitted = (answer.c.execution_id == E.id) & answer.c.admitted & (E.status == Status.QUEUED)
    statement = (
        _described()
        .add_columns(answer.c.execution_id.label("answered"))
        .select_from(answer)
        .outerjoin(E, admitted)
        .outerjoin(Workspace, Workspace.id == E.workspace_id)
        .outerjoin(Task, Task.id == Workspace.task_id)
        .outerjoin(Project, Project.id == E.project_id)
        .order_by(E.created_at, E.id)
    )
    rows = connection.execute(statement).all()
    return [_message(row) for row in rows if row.id is not None], any(row.answered is None for row in rows)


def _messages(connection: Connection, which: ColumnElement[bool]) -> list[QueueMessage]:
    statement = (
        _described()
        .select_from(E)
        .outerjoin(Workspace, Workspace.id == E.workspace_id)
        .outerjoin(Task, Task.id == Workspace.task_id)
        .outerjoin(Project, Project.id == E.project_id)
        .where(which)
        .order_by(E.created_at, E.id)
    )
    return [_message(row) for row in connection.execute(statement)]


def _described() -> Select[Any]:
    """Return the columns of a message, without the joins that they need."""
    urls = (
        select(func.array_agg(aggregate_order_by(WorkspaceRepo.url, WorkspaceRepo.position)))
        .where(WorkspaceRepo.workspace_id == E.workspace_id)
        .scalar_subquery()
    )
    remotes = (
        select(func.array_agg(aggregate_order_by(Repo.path, Repo.name, Repo.id)))
        .join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
        .where(ProjectRepo.project_id == E.project_id)
        .scalar_subquery()
    )
    made_of_prompt = func.strpos(func.coalesce(Task.description, ""), func.rtrim(Task.title, "…")) > 0
    columns = (E.id, E.attempt, E.run_reason, E.workspace_id, E.run_id, Workspace.node_id)
    title = func.coalesce(Task.title, Project.name)
    return select(
        *columns,
        func.coalesce(Workspace.pool, E.pool).label("pool"),
        func.coalesce(urls, remotes).label("urls"),
        case((made_of_prompt, None), else_=title).label("title"),
    )


def _message(row: Row[Any]) -> QueueMessage:
    return QueueMessage(
        row.id,
        row.attempt,
        RunReason(row.run_reason),
        row.pool,
        row.node_id,
        MessageDescription(row.title, row.urls or (), row.workspace_id, row.run_id),
    )


_STARTABLE = """
    FROM execution_processes e LEFT JOIN lanes l ON l.workspace_id = e.workspace_id
    LEFT JOIN workspaces w ON w.id = e.workspace_id LEFT JOIN runtime_nodes n ON n.node_id = w.node_id
    WHERE e.status = 'queued' AND (e.not_before IS NULL OR e.not_before <= now())
      AND w.state IS DISTINCT FROM 'stopped' AND w.requested_state IS NULL AND n.liveness IS DISTINCT FROM 'offline'
      AND (e.run_reason = 'dev_server' OR e.workspace_id IS NULL OR (
        (l.group_id IS NULL OR l.group_id = e.group_id) AND NOT EXISTS (
          SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
            AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)))
    """


_ADMITTED = """(e.run_id IS NULL OR EXISTS (
        SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.admitted_at IS NOT NULL))"""


def startable(connection: Connection, older_than_seconds: float, limit: int = 200) -> list[UUID]:
    """Return executions that wait for nothing but a worker, or for free capacity on a node.

    Left out are executions behind another step group, those of a stopped workspace, and those of a node that is offline
    (no worker would take their messages).

    Args:
        connection: any transaction.
        older_than_seconds: only executions that have been queued for so long.
        limit: most executions; the oldest come first.
    """
    statement = text(
        f"SELECT e.id {_STARTABLE} AND coalesce(e.not_before, e.created_at) < now() - make_interval(secs => :age) "
        "ORDER BY e.created_at LIMIT :limit"
    )
    return list(connection.scalars(statement, {"age": older_than_seconds, "limit": limit}))


@dataclass(frozen=True)
class Undispatched:
    """Executions of one queue that could start and whose message was sent long ago, so that it may be lost.

    Attributes:
        queue: name of the queue.
    """

    queue: str
    startable: int
    """Number of executions that could start and of which this queue should hold a message, however old it is."""
    messages: Sequence[QueueMessage]
    """Messages of the executions whose message is old, the oldest execution first, at most the limit."""


def undispatched(connection: Connection, older_than_seconds: float, limit_per_queue: int = 200) -> list[Undispatched]:
    """Return, by queue, the executions that could start and whose message was last sent long ago.

    Args:
        connection: any transaction.
        older_than_seconds: age from which a message counts as old.
        limit_per_queue: most messages of one queue. It applies to each queue, so a long queue hides no other.
    """
    statement = text(
        f"""
        SELECT id, queue, startable FROM (
          SELECT id, queue, old, count(*) OVER (PARTITION BY queue) AS startable,
            row_number() OVER (PARTITION BY queue, old ORDER BY created_at, id) AS place
          FROM (
            SELECT e.id, e.created_at, coalesce('node ' || w.node_id, 'pool ' || coalesce(w.pool, e.pool)) AS queue,
              coalesce(e.published_at, e.created_at) < now() - make_interval(secs => :age) AS old
            {_STARTABLE} AND {_ADMITTED}) AS could_start) AS placed
        WHERE old AND place <= :limit
        """  # noqa: S608 - nothing of a client's
    )
    rows = connection.execute(statement, {"age": older_than_seconds, "limit": limit_per_queue}).all()
    totals = {row.queue: row.startable for row in rows}
    of_row = {row.id: row.queue for row in rows}
    by_queue: dict[str, list[QueueMessage]] = {}
    for message in messages_of(connection, list(of_row)):
        by_queue.setdefault(of_row[message.execution_id], []).append(message)
    return [Undispatched(due[0].queue, totals[queue], due) for queue, due in by_queue.items()]


def mark_published(connection: Connection, ids: Sequence[UUID]) -> None:
    """Record that the messages of some executions were sent now.

    It is not known whether they have arrived.
    """
    connection.execute(
        update(E).where(E.id.in_(ids)).values(published_at=func.now(), publish_count=E.publish_count + 1)
    )
