"""Events: gap-free per operation and per workspace, and a global order that misses nothing committed late."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, insert, literal_column, select, tuple_, update

from relay_core.domain.events import EventKind
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace


@dataclass(frozen=True)
class EventRow:
    """An event as stored."""

    cursor: int
    """Position among the workspace's events, 1..n without gap."""
    workspace_id: UUID
    operation_id: UUID | None
    sequence: int | None
    kind: str
    terminal: bool
    payload: Mapping[str, Any]
    created_at: datetime
    place: "GlobalCursor"
    """Position among the events of all workspaces."""


class GlobalCursor(NamedTuple):
    """A place in the order of all workspaces' events."""

    xid: int = 0
    id: int = 0


class GlobalPage(NamedTuple):
    """Events after a global cursor, and where to go on."""

    events: list[EventRow]
    cursor: GlobalCursor


def append(
    connection: Connection,
    workspace_id: UUID,
    kind: EventKind,
    payload: Mapping[str, Any] | None = None,
    *,
    operation_id: UUID | None = None,
    terminal: bool = False,
) -> int:
    """Add an event within the caller's transaction, as late in it as can be.

    The row lock on the workspace's counter is held until commit, so events of one workspace become visible in the
    order of their cursor: a reader that has seen n can never miss one below n.

    Returns:
        The event's cursor in its workspace.
    """
    sequence = None
    if operation_id is not None:
        sequence = connection.scalar(
            update(ExecutionProcess)
            .where(ExecutionProcess.id == operation_id)
            .values(event_sequence=ExecutionProcess.event_sequence + 1)
            .returning(ExecutionProcess.event_sequence)
        )
    cursor = connection.execute(
        update(Workspace)
        .where(Workspace.id == workspace_id)
        .values(event_seq=Workspace.event_seq + 1)
        .returning(Workspace.event_seq)
    ).scalar_one()
    connection.execute(
        insert(Event).values(
            workspace_id=workspace_id,
            workspace_seq=cursor,
            operation_id=operation_id,
            sequence=sequence,
            kind=kind,
            terminal=terminal,
            payload=dict(payload or {}),
        )
    )
    return int(cursor)


def of_workspace(connection: Connection, workspace_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Events of one workspace behind the cursor ``after`` (0: from the first), in order."""
    statement = (
        select(Event)
        .where(Event.workspace_id == workspace_id, Event.workspace_seq > after)
        .order_by(Event.workspace_seq)
        .limit(limit)
    )
    return [_row(row) for row in connection.execute(statement).mappings()]


def of_operation(connection: Connection, operation_id: UUID) -> list[EventRow]:
    """All events of one execution, by sequence."""
    statement = select(Event).where(Event.operation_id == operation_id).order_by(Event.sequence)
    return [_row(row) for row in connection.execute(statement).mappings()]


def of_everything(
    connection: Connection, after: GlobalCursor, limit: int = 500, created_by: str | None = None
) -> GlobalPage:
    """Events of all workspaces behind ``after``, in the order (transaction, id).

    A transaction that began early may commit late; so only transactions below the oldest one still open are shown.
    Their events are then complete, and the cursor may pass them.

    Args:
        connection: any transaction that can read.
        after: where the reader is.
        limit: most events on a page.
        created_by: only workspaces of this owner.
    """
    oldest_open: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    statement = (
        select(Event)
        .where(tuple_(Event.xid, Event.id) > tuple_(after.xid, after.id), Event.xid < oldest_open)
        .order_by(Event.xid, Event.id)
        .limit(limit)
    )
    if created_by is not None:
        mine = select(Workspace.id).where(Workspace.created_by == created_by)
        statement = statement.where(Event.workspace_id.in_(mine))
    # What the last shown transaction is may not be asked for afterwards: more may be shown by then.
    newest = _newest(connection, oldest_open) if created_by is not None else None
    rows: Sequence[Any] = connection.execute(statement).mappings().all()
    if len(rows) == limit or created_by is None:
        cursor = GlobalCursor(rows[-1]["xid"], rows[-1]["id"]) if rows else after
    else:  # all up to there are seen, others' too: they need not be looked at again
        cursor = max(after, newest or after, *(GlobalCursor(row["xid"], row["id"]) for row in rows[-1:]))
    return GlobalPage([_row(row) for row in rows], cursor)


def _newest(connection: Connection, oldest_open: ColumnElement[int]) -> GlobalCursor | None:
    """The last event that a reader may see by now."""
    statement = select(Event.xid, Event.id).where(Event.xid < oldest_open)
    row = connection.execute(statement.order_by(Event.xid.desc(), Event.id.desc()).limit(1)).one_or_none()
    return GlobalCursor(row.xid, row.id) if row else None


def _row(row: Any) -> EventRow:
    return EventRow(
        row["workspace_seq"],
        row["workspace_id"],
        row["operation_id"],
        row["sequence"],
        row["kind"],
        row["terminal"],
        row["payload"],
        row["created_at"],
        GlobalCursor(row["xid"], row["id"]),
    )
