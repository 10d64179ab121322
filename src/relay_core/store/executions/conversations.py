"""Conversations of agents' turns in Postgres.

The owner of an execution writes the entries while it runs; clients can read them at any time.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.errors import NotFound, Stale
from relay_core.domain.vocabulary import FINAL, Status
from relay_core.store.schema.tables import CodingAgentTurn, ConversationEntry, ExecutionProcess

C = ConversationEntry


class EntryRow(NamedTuple):
    """One entry of a conversation as it is now; `sequence` is the number of its last change."""

    entry: int
    sequence: int
    kind: str
    content: dict[str, Any]
    created_at: datetime


class Progress(NamedTuple):
    """How far a conversation has come. A later progress compares as greater.

    Attributes:
        sequence: number of the latest change of any entry; 0 without entries.
    """

    sequence: int
    complete: bool
    """Whether the execution has ended, so that no entry will follow or change."""


def store(
    connection: Connection, execution_id: UUID, fence: int, entries: Sequence[Entry], agent_session_id: str | None
) -> None:
    """Store new and changed entries of an execution, and the agent's id of the conversation.

    An entry that is stored already with the same or a higher sequence is left as it is.

    Args:
        connection: one transaction.
        execution_id: the execution.
        fence: fence of the caller's claim.
        entries: the entries, each in its latest state.
        agent_session_id: id that the agent gave to its conversation; None: not known.

    Raises:
        Stale: the caller does not own the execution any more; nothing was written.
    """
    mine = select(ExecutionProcess.id).where(
        ExecutionProcess.id == execution_id,
        ExecutionProcess.fence == fence,
        ExecutionProcess.status == Status.RUNNING,
    )
    if connection.execute(mine.with_for_update(read=True)).one_or_none() is None:
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")
    if entries:
        connection.execute(text(_UPSERT), [_values(execution_id, entry) for entry in entries])
    if agent_session_id is not None:
        turn = update(CodingAgentTurn).where(
            CodingAgentTurn.execution_process_id == execution_id,
            CodingAgentTurn.agent_session_id.is_distinct_from(agent_session_id),
        )
        connection.execute(turn.values(agent_session_id=agent_session_id))


def mark_seen(connection: Connection, execution_id: UUID, *, seen: bool) -> None:
    """Store whether a person has looked at the turn of an agent.

    Raises:
        NotFound: the execution is no turn of an agent.
    """
    turn = update(CodingAgentTurn).where(CodingAgentTurn.execution_process_id == execution_id)
    if not connection.execute(turn.values(seen=seen)).rowcount:
        raise NotFound(f"execution {execution_id} is no turn of an agent")


_UPSERT = """
    INSERT INTO conversation_entries AS c (execution_id, entry, sequence, kind, content)
    VALUES (:execution_id, :entry, :sequence, :kind, CAST(:content AS jsonb))
    ON CONFLICT (execution_id, entry) DO UPDATE
    SET sequence = excluded.sequence, kind = excluded.kind, content = excluded.content
    WHERE c.sequence < excluded.sequence
    """


def _values(execution_id: UUID, entry: Entry) -> dict[str, Any]:
    content = json.dumps(entry.as_json(), ensure_ascii=False)
    return {
        "execution_id": execution_id,
        "entry": entry.index,
        "sequence": entry.sequence,
        "kind": entry.kind,
        "content": content,
    }


def changed(connection: Connection, execution_id: UUID, after: int, limit: int) -> list[EntryRow]:
    """Return at most ``limit`` entries that changed after the sequence ``after``, in the order of the last changes."""
    statement = select(C.entry, C.sequence, C.kind, C.content, C.created_at).where(
        C.execution_id == execution_id, C.sequence > after
    )
    return [EntryRow(*row) for row in connection.execute(statement.order_by(C.sequence).limit(limit))]


def in_order(connection: Connection, execution_id: UUID, after_entry: int, limit: int) -> list[EntryRow]:
    """Return at most ``limit`` entries after the entry ``after_entry`` (-1: from the first), in their order."""
    statement = select(C.entry, C.sequence, C.kind, C.content, C.created_at).where(
        C.execution_id == execution_id, C.entry > after_entry
    )
    return [EntryRow(*row) for row in connection.execute(statement.order_by(C.entry).limit(limit))]


def progress(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Progress]:
    """Return the progress of the conversations of some executions, by execution."""
    newest = select(func.coalesce(func.max(C.sequence), 0)).where(C.execution_id == ExecutionProcess.id)
    statement = select(ExecutionProcess.id, ExecutionProcess.status, newest.scalar_subquery()).where(
        ExecutionProcess.id.in_(ids)
    )
    return {row[0]: Progress(row[2], row[1] in FINAL) for row in connection.execute(statement)}
