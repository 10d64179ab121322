"""Events: gap-free per operation and per workspace, and one order over all workspaces that misses no late commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, insert, literal_column, select, tuple_, update

from relay_core.domain.events import EventKind
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace

_OLDEST_OPEN: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
"""The oldest transaction that is still open in this snapshot."""


@dataclass(frozen=True)
class EventRow:
    """An event as it was read."""

    cursor: int
    """Position among the events of its workspace, 1..n without gap."""
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
    """A position in the order of the events of all workspaces: transaction id, then event id."""

    xid: int = 0
    id: int = 0


class GlobalPage(NamedTuple):
    """Events after a global cursor, and the cursor for the next page."""

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
    """Add an event in the caller's transaction; to be called as late in it as possible.

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
    """Events of one workspace after the cursor ``after`` (0: from the first), in order."""
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
    """Events of all workspaces after the cursor ``after``, in the order (transaction, id).

    A transaction that began early may commit late. So only transactions older than the oldest open one are shown: their
    events are complete, and the cursor may pass them.

    Args:
        connection: any transaction that can read.
        after: cursor of the page before.
        limit: most events on a page.
        created_by: owner whose workspaces are shown; None: all.
    """
    statement = (
        select(Event)
        .where(tuple_(Event.xid, Event.id) > tuple_(after.xid, after.id), Event.xid < _OLDEST_OPEN)
        .order_by(Event.xid, Event.id)
        .limit(limit)
    )
    if created_by is not None:
        mine = select(Workspace.id).where(Workspace.created_by == created_by)
        statement = statement.where(Event.workspace_id.in_(mine))
    # Read before the page: a later read could name an event that the page does not have yet.
    newest = newest_readable(connection) if created_by is not None else None
    rows: Sequence[Any] = connection.execute(statement).mappings().all()
    if len(rows) == limit or created_by is None:
        cursor = GlobalCursor(rows[-1]["xid"], rows[-1]["id"]) if rows else after
    else:  # the page is the last: the cursor also passes the events of other owners
        cursor = max(after, newest or after, *(GlobalCursor(row["xid"], row["id"]) for row in rows[-1:]))
    return GlobalPage([_row(row) for row in rows], cursor)


def newest_readable(connection: Connection) -> GlobalCursor | None:
    """Cursor of the last event that a reader of all workspaces may see by now; None: there is no such event."""
    statement = select(Event.xid, Event.id).where(Event.xid < _OLDEST_OPEN)
    row = connection.execute(statement.order_by(Event.xid.desc(), Event.id.desc()).limit(1)).one_or_none()
    return GlobalCursor(row.xid, row.id) if row else None


def workspace_cursors(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Cursors of the newest events of some workspaces, by workspace."""
    rows = connection.execute(select(Workspace.id, Workspace.event_seq).where(Workspace.id.in_(ids)))
    return {row.id: row.event_seq for row in rows}


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
