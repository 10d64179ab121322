"""Admits waiting runs at the end of a transaction, under one advisory lock.

The lock is the last one that a transaction takes, and its holder waits for no other: rows that are locked are skipped,
and the sweep looks at them again. So it cannot be part of a deadlock, and it is held until the commit only.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from relay_core.domain.admission import Admitted, decide
from relay_core.domain.message import QueueMessage
from relay_core.store.admission import facts
from relay_core.store.admission.raising import raise_seconds
from relay_core.store.executions import messages

_IDS = bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True)))
_LOCK = text("SELECT pg_advisory_xact_lock(7310021)")
_ADMIT = text(
    """
    WITH free AS (
      SELECT r.id FROM runs r WHERE r.id = ANY(:ids) AND r.admitted_at IS NULL AND r.status <> 'completed'
      FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE runs r SET admitted_at = clock_timestamp() + i.place * interval '1 microsecond'
    FROM free JOIN unnest(:ids) WITH ORDINALITY AS i(id, place) ON i.id = free.id
    WHERE r.id = free.id RETURNING r.id, r.project_id, r.owner, r.admitted_at
    """
).bindparams(_IDS)
_SERVE = text(
    """
    INSERT INTO admission_turns AS t (project_id, owner, served_at)
    SELECT r.project_id, r.owner, max(r.admitted_at) FROM runs r WHERE r.id = ANY(:ids)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (project_id, owner) DO UPDATE SET served_at = EXCLUDED.served_at
    """
).bindparams(_IDS)
_PLACE = text(
    """
    WITH free AS (
      SELECT w.id, p.run_id, p.node_id FROM unnest(:ids, :nodes) AS p(run_id, node_id)
      JOIN runs r ON r.id = p.run_id JOIN workspaces w ON w.id = r.workspace_id
      WHERE w.node_id IS NULL FOR NO KEY UPDATE OF w SKIP LOCKED)
    UPDATE workspaces w SET node_id = free.node_id FROM free WHERE w.id = free.id RETURNING free.run_id
    """
).bindparams(_IDS, bindparam("nodes", type_=ARRAY(TEXT)))
_WITHDRAW = text(
    """
    WITH free AS (
      SELECT r.id FROM runs r JOIN workspaces w ON w.id = r.workspace_id
      LEFT JOIN runtime_nodes n ON n.node_id = w.node_id
      WHERE r.admitted_at IS NOT NULL AND r.status <> 'completed'
        AND (w.state = 'stopped' OR w.requested_state IS NOT NULL OR n.liveness = 'offline'
          OR n.revoked_at IS NOT NULL OR w.diverged_at IS NOT NULL
          OR (w.node_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM node_slots s WHERE s.node_id = w.node_id AND s.starts)))
        AND NOT EXISTS (SELECT 1 FROM execution_processes e WHERE e.run_id = r.id AND e.status = 'running')
      FOR NO KEY UPDATE OF r SKIP LOCKED)
    UPDATE runs r SET admitted_at = NULL FROM free WHERE r.id = free.id
    """
)
_UNPLACE = text(
    """
    WITH free AS (
      SELECT w.id FROM workspaces w JOIN runtime_nodes n ON n.node_id = w.node_id
        AND (n.liveness = 'offline' OR n.revoked_at IS NOT NULL
          OR NOT EXISTS (SELECT 1 FROM node_slots s WHERE s.node_id = n.node_id AND s.starts))
      JOIN runs r ON r.workspace_id = w.id AND r.admitted_at IS NULL AND r.status <> 'completed'
      WHERE w.needs <> '{}' AND w.state = 'starting' AND w.work_dir IS NULL AND w.container_ref IS NULL
        AND w.forked_from IS NULL
        AND NOT EXISTS (SELECT 1 FROM execution_processes e WHERE e.workspace_id = w.id AND e.started_at IS NOT NULL)
      FOR NO KEY UPDATE OF w SKIP LOCKED)
    UPDATE workspaces w SET node_id = NULL FROM free WHERE w.id = free.id
    """
)


def admitted_messages(connection: Connection, execution_ids: Sequence[UUID], *, freed: bool) -> list[QueueMessage]:
    """Admit runs, and return the messages to send after the commit. It has to be the last act of the transaction.

    Without contention this is one statement, which decides and returns the messages; else the decision is made here.

    Args:
        connection: the transaction.
        execution_ids: executions that may start as far as lane and workspace are concerned.
        freed: whether a place became free in this transaction, so that waiting runs may be admitted.
    """
    due, undecided = messages.messages_admitted_at_once(connection, execution_ids, freed=freed)
    return due + (_admit(connection) if undecided else [])


def sweep(connection: Connection) -> list[QueueMessage]:
    """Admit all waiting runs for which there is a place now, and return their messages.

    It repairs what ends of executions do not see: a node that came back, a row that was locked, time that raised a
    priority. Runs whose workspace is stopped or waits for the acknowledgement of
    strange commits, or whose node is offline, revoked, detached or below the floor of its pool, give their place back.
    """
    connection.execute(_LOCK)
    connection.execute(_WITHDRAW)
    connection.execute(_UNPLACE)
    return _admit(connection)


def _admit(connection: Connection) -> list[QueueMessage]:
    """Decide about the waiting runs (`facts.waiting`). The caller holds the lock."""
    runs = facts.waiting(connection)
    if not runs:
        return []
    admitted = decide(runs, facts.situation(connection, runs), raise_seconds(connection)).admitted
    ids = _placed(connection, admitted)
    if not ids:
        return []
    done = [row.id for row in connection.execute(_ADMIT, {"ids": ids})]
    if not done:
        return []
    connection.execute(_SERVE, {"ids": done})
    places = {run_id: place for place, run_id in enumerate(ids)}
    due = messages.messages_of_runs(connection, done)
    messages.mark_published(connection, [message.execution_id for message in due])
    return sorted(due, key=lambda message: places[_run(message)])


def _run(message: QueueMessage) -> UUID:
    if message.description is None or message.description.run_id is None:  # pragma: no cover - it was read with its run
        raise AssertionError
    return message.description.run_id


def _placed(connection: Connection, admitted: Sequence[Admitted]) -> list[UUID]:
    """Write the nodes that were chosen for runs, and return the runs in their order, without those that were locked."""
    chosen = {one.run.id: one.node_id for one in admitted if one.node_id is not None}
    if not chosen:
        return [one.run.id for one in admitted]
    rows = connection.execute(_PLACE, {"ids": list(chosen), "nodes": list(chosen.values())})
    placed = {row.run_id for row in rows}
    return [one.run.id for one in admitted if one.node_id is None or one.run.id in placed]
