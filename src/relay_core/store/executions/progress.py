"""The progress of a running execution, as an event that keeps out of the way of all other writes."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Connection, String, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from relay_core.domain.events import EventKind

MILLISECONDS = 500
"""Longest time that the statement may take; until then the end of the execution may have to wait for its locks."""

_LIMIT = text(
    "SELECT set_config('statement_timeout', :milliseconds, true), "
    "set_config('idle_in_transaction_session_timeout', :milliseconds, true)"
)
_APPEND = text(
    """
    WITH mine AS (
      SELECT id, workspace_id, project_id FROM execution_processes
      WHERE id = :execution_id AND fence = :fence AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED),
    place AS (
      SELECT w.id FROM workspaces w JOIN mine ON mine.workspace_id = w.id FOR NO KEY UPDATE OF w SKIP LOCKED),
    operation AS (
      UPDATE execution_processes e SET event_sequence = e.event_sequence + 1 FROM mine
      WHERE e.id = mine.id AND (mine.workspace_id IS NULL OR EXISTS (SELECT 1 FROM place))
      RETURNING e.event_sequence, mine.workspace_id, mine.project_id),
    counted AS (
      UPDATE workspaces w SET event_seq = w.event_seq + 1 FROM operation WHERE w.id = operation.workspace_id
      RETURNING w.event_seq)
    INSERT INTO events (workspace_id, workspace_seq, project_id, operation_id, sequence, kind, payload)
    SELECT o.workspace_id, c.event_seq, CASE WHEN o.workspace_id IS NULL THEN o.project_id END,
      :execution_id, o.event_sequence, :kind, :payload
    FROM operation o LEFT JOIN counted c ON true
    """
).bindparams(
    bindparam("execution_id", type_=Uuid),
    bindparam("fence", type_=BigInteger),
    bindparam("kind", type_=String),
    bindparam("payload", type_=JSONB),
)


def append_progress(connection: Connection, execution_id: UUID, fence: int, payload: Mapping[str, Any]) -> bool:
    """Add an event `execution.progress` to the sequence of an execution.

    It waits for no row: if another transaction writes the execution or its workspace, such as the one that ends it,
    nothing is added.

    Args:
        connection: a transaction that does nothing else.
        execution_id: the execution.
        fence: fence of the caller's claim.
        payload: the fields of the event.

    Returns:
        Whether it was added; False if a row was locked, or if the execution does not run with this fence.
    """
    connection.execute(_LIMIT, {"milliseconds": str(MILLISECONDS)})
    values = {"execution_id": execution_id, "fence": fence, "kind": EventKind.EXECUTION_PROGRESS, "payload": payload}
    return connection.execute(_APPEND, {**values, "payload": dict(payload)}).rowcount == 1
