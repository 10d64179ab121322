"""Events: numbered without gaps per operation and per workspace, and readable in one order over all workspaces.

A reader of that order misses no event, even if its transaction began early and committed late.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, insert, literal_column, select, tuple_, update

from relay_core.domain.events import EventKind
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace

_OLDEST_OPEN: ColumnElement[int] = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
"""SQL expression: id of the oldest transaction that is still open in this snapshot."""


@dataclass(frozen=True)
class EventRow:
    """An event as it was read.

    Attributes:
        operation_id: the execution that the event belongs to; None for events of a workspace or task.
        sequence: position among the events of the operation, 1..n without gaps; None without an operation.
        terminal: whether it is the last event of its operation.
    """

    cursor: int
    """Position among the events of the workspace, 1..n without gaps."""
    workspace_id: UUID
    operation_id: UUID | None
    sequence: int | None
    kind: str
    terminal: bool
    payload: Mapping[str, Any]
    created_at: datetime
    place: "GlobalCursor"
    """Position in the order of the events of all workspaces."""


class GlobalCursor(NamedTuple):
    """A position in the order of the events of all workspaces: transaction id, then event id."""

    xid: int = 0
    id: int = 0


class GlobalPage(NamedTuple):
    """A page of the events of all workspaces, and the cursor after which the next page begins."""

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
    """Add an event in the caller's transaction. Call it as late in the transaction as possible.

    It locks the workspace's event counter until the commit, so events of one workspace become visible in the order of
    their cursors: a reader that has seen event n cannot miss an earlier one.

    Args:
        connection: the transaction that makes the change which the event reports.
        workspace_id: the workspace.
        kind: the kind of event.
        payload: its fields, see `EventKind`.
        operation_id: the execution that the event belongs to, if any.
        terminal: whether it is the last event of the operation.

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
    """Return events of one workspace after the cursor ``after`` (0: from the first), in order."""
    statement = (
        select(Event)
        .where(Event.workspace_id == workspace_id, Event.workspace_seq > after)
        .order_by(Event.workspace_seq)
        .limit(limit)
    )
    return [_row(row) for row in connection.execute(statement).mappings()]


def of_run(connection: Connection, workspace_id: UUID, run_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events of the executions of one run after the cursor ``after`` of its workspace, in order."""
    operations = select(ExecutionProcess.id).where(ExecutionProcess.run_id == run_id)
    statement = (
        select(Event)
        .where(Event.workspace_id == workspace_id, Event.workspace_seq > after, Event.operation_id.in_(operations))
        .order_by(Event.workspace_seq)
        .limit(limit)
    )
    return [_row(row) for row in connection.execute(statement).mappings()]


def of_operation(connection: Connection, operation_id: UUID) -> list[EventRow]:
    """Return all events of one execution, by sequence."""
    statement = select(Event).where(Event.operation_id == operation_id).order_by(Event.sequence)
    return [_row(row) for row in connection.execute(statement).mappings()]


def of_everything(
    connection: Connection, after: GlobalCursor, limit: int = 500, created_by: str | None = None
) -> GlobalPage:
    """Return events of all workspaces after the cursor ``after``, in the order (transaction id, event id).

    A transaction that began early may commit late. So only events of transactions older than the oldest open one are
    returned: no further event can appear before them, and the cursor may pass them.

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
    # Read before the page: a later read could return an event that the page does not have yet.
    newest = newest_readable(connection) if created_by is not None else None
    rows: Sequence[Any] = connection.execute(statement).mappings().all()
    if len(rows) == limit or created_by is None:
        cursor = GlobalCursor(rows[-1]["xid"], rows[-1]["id"]) if rows else after
    else:  # the page is the last: the cursor also passes the events of other owners
        cursor = max(after, newest or after, *(GlobalCursor(row["xid"], row["id"]) for row in rows[-1:]))
    return GlobalPage([_row(row) for row in rows], cursor)


def newest_readable(connection: Connection) -> GlobalCursor | None:
    """Return the cursor of the newest event that readers of all workspaces may see now; None: there is none.

    Events of transactions that are not older than the oldest open one do not count.
    """
    statement = select(Event.xid, Event.id).where(Event.xid < _OLDEST_OPEN)
    row = connection.execute(statement.order_by(Event.xid.desc(), Event.id.desc()).limit(1)).one_or_none()
    return GlobalCursor(row.xid, row.id) if row else None


def workspace_cursors(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the cursor of the newest event of each workspace, by workspace id."""
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
