"""Queue messages of executions: finds those to send, and those to send again because they may be lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from relay_core.domain.message import MessageDescription, QueueMessage
from relay_core.domain.vocabulary import RunReason
from relay_core.store.projects.clone_turns import MAY_START

_COLUMNS = "m.id, m.attempt, m.run_reason, m.workspace_id, m.run_id, m.node_id, m.pool, m.urls, m.title"
_ANY = bindparam("ids", type_=ARRAY(Uuid()))
_OF_EXECUTIONS = text(
    f"SELECT {_COLUMNS} FROM message_of m JOIN execution_processes e ON e.id = m.id "  # noqa: S608 - of no client
    "WHERE e.id = ANY(:ids) ORDER BY e.created_at, e.id"
).bindparams(_ANY)
_OF_RUNS = text(
    f"SELECT {_COLUMNS} FROM message_of m JOIN execution_processes e ON e.id = m.id "  # noqa: S608 - of no client
    "WHERE e.run_id = ANY(:ids) AND e.status = 'queued' ORDER BY e.created_at, e.id"
).bindparams(_ANY)
_NOTE = text("SELECT note_published(:ids)").bindparams(_ANY)
_ADMIT = text(f"SELECT {_COLUMNS} FROM admit_at_once(:ids, :freed) AS m").bindparams(_ANY)  # noqa: S608 - of no client


def messages_of(connection: Connection, ids: Sequence[UUID]) -> list[QueueMessage]:
    """Return the messages of some executions, in the order in which the executions were created."""
    return [_message(row) for row in connection.execute(_OF_EXECUTIONS, {"ids": list(ids)})]


def messages_of_runs(connection: Connection, run_ids: Sequence[UUID]) -> list[QueueMessage]:
    """Return the messages of the queued executions of some runs, in the order in which they were created."""
    return [_message(row) for row in connection.execute(_OF_RUNS, {"ids": list(run_ids)})]


def messages_admitted_at_once(
    connection: Connection, ids: Sequence[UUID], *, freed: bool
) -> tuple[list[QueueMessage], bool]:
    """Admit the run of an execution if no other run can compete with it, and return the messages of admitted runs.

    Executions that are not queued are left out. The messages are noted as sent, because the caller sends them after the
    commit. All this is one request.

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
    rows = connection.execute(_ADMIT, {"ids": list(dict.fromkeys(ids)), "freed": freed}).all()
    return [_message(row) for row in rows if row.id is not None], any(row.id is None for row in rows)


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
    WHERE e.status = 'queued'
      AND w.state IS DISTINCT FROM 'stopped' AND w.requested_state IS NULL AND n.liveness IS DISTINCT FROM 'offline'
      AND n.revoked_at IS NULL AND (w.diverged_at IS NULL OR e.run_reason = 'dev_server')
      AND (w.node_id IS NULL OR EXISTS (SELECT 1 FROM node_slots s WHERE s.node_id = w.node_id AND s.starts))
      AND (e.run_reason = 'dev_server' OR e.workspace_id IS NULL OR (
        (l.group_id IS NULL OR l.group_id = e.group_id) AND NOT EXISTS (
          SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
            AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)))
    """


_ADMITTED = f"""(e.run_id IS NULL OR EXISTS (
        SELECT 1 FROM runs r WHERE r.id = e.run_id AND r.admitted_at IS NOT NULL))
      AND (e.project_id IS NULL OR e.id IN ({MAY_START}))"""  # noqa: S608 - nothing of a client's


def startable(connection: Connection, older_than_seconds: float, limit: int = 200) -> list[UUID]:
    """Return executions that wait for nothing but a worker, or for free capacity on a node.

    Left out are executions behind another step group, those of a stopped workspace, and those of a node that is
    offline, revoked, detached or below the floor of its pool (no worker would take their messages).

    Args:
        connection: any transaction.
        older_than_seconds: only executions that have been queued for so long.
        limit: most executions; the oldest come first.
    """
    statement = text(
        f"SELECT e.id {_STARTABLE} AND e.created_at < now() - make_interval(secs => :age) "
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
    """Record that the messages of some queued executions are sent now, so that they count as lost only some time later.

    It is not known whether they arrive. Executions that another transaction has locked are left out.
    """
    connection.execute(_NOTE, {"ids": list(ids)})
