"""Conversations of agent turns: the owner of an execution writes the entries, clients read them at any time."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import FINAL, Status
from relay_core.store.schema.tables import CodingAgentTurn, ConversationEntry, ExecutionProcess

C = ConversationEntry


class EntryRow(NamedTuple):
    """One entry of a conversation in its present state."""

    entry: int
    sequence: int
    kind: str
    content: dict[str, Any]
    created_at: datetime


class Progress(NamedTuple):
    """Progress of a conversation; a later progress compares as greater."""

    sequence: int
    complete: bool
    """The execution has ended: no entry will follow or change."""


def store(
    connection: Connection, execution_id: UUID, fence: int, entries: Sequence[Entry], agent_session_id: str | None
) -> None:
    """Store new and changed entries of an execution; an entry that is stored in this or a later state stays as it is.

    Raises:
        Stale: the execution is no longer ours; nothing was written.
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
    """The entries whose last change is after sequence `after`, in the order of their changes, at most `limit`."""
    statement = select(C.entry, C.sequence, C.kind, C.content, C.created_at).where(
        C.execution_id == execution_id, C.sequence > after
    )
    return [EntryRow(*row) for row in connection.execute(statement.order_by(C.sequence).limit(limit))]


def in_order(connection: Connection, execution_id: UUID, after_entry: int, limit: int) -> list[EntryRow]:
    """The entries after entry `after_entry` (-1: all), in the order of the conversation, at most `limit`."""
    statement = select(C.entry, C.sequence, C.kind, C.content, C.created_at).where(
        C.execution_id == execution_id, C.entry > after_entry
    )
    return [EntryRow(*row) for row in connection.execute(statement.order_by(C.entry).limit(limit))]


def progress(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Progress]:
    """The progress of the conversations of some executions."""
    newest = select(func.coalesce(func.max(C.sequence), 0)).where(C.execution_id == ExecutionProcess.id)
    statement = select(ExecutionProcess.id, ExecutionProcess.status, newest.scalar_subquery()).where(
        ExecutionProcess.id.in_(ids)
    )
    return {row[0]: Progress(row[2], row[1] in FINAL) for row in connection.execute(statement)}
