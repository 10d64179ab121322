"""Events: numbered without gaps per operation and per workspace (`store.global_events`: in one order over all).

Events of a project belong to no workspace; they have an order only in their operation and over all events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, Connection, String, Uuid, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from relay_core.domain.events import EventKind
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace


@dataclass(frozen=True)
class EventRow:
    """An event as it was read.

    Attributes:
        operation_id: the execution that the event belongs to; None for events of a workspace or task.
        sequence: position among the events of the operation, 1..n without gaps; None without an operation.
        terminal: whether it is the last event of its operation.
    """

    cursor: int | None
    """Position among the events of the workspace, 1..n without gaps; None for an event of a project."""
    workspace_id: UUID | None
    project_id: UUID | None
    """The project of an event that belongs to no workspace; None for others."""
    operation_id: UUID | None
    sequence: int | None
    kind: str
    terminal: bool
    payload: Mapping[str, Any]
    created_at: datetime
    position: int | None
    """Position among the events of all workspaces, 1..n; None until one is given (`global_events.give_positions`)."""


# The operation's row is locked before the workspace's, as everywhere: the second update reads the result of the first.
_APPEND = text(
    "WITH operation AS ("
    "UPDATE execution_processes SET event_sequence = event_sequence + 1 WHERE id = :operation_id "
    "RETURNING event_sequence"
    "), place AS ("
    "UPDATE workspaces SET event_seq = event_seq + 1 "
    "WHERE id = :workspace_id AND (SELECT count(*) FROM operation) >= 0 RETURNING event_seq"
    ") INSERT INTO events (workspace_id, workspace_seq, operation_id, sequence, kind, terminal, payload) "
    "SELECT :workspace_id, place.event_seq, :operation_id, operation.event_sequence, :kind, :terminal, :payload "
    "FROM place LEFT JOIN operation ON true RETURNING workspace_seq"
).bindparams(
    bindparam("workspace_id", type_=Uuid),
    bindparam("operation_id", type_=Uuid),
    bindparam("kind", type_=String),
    bindparam("terminal", type_=Boolean),
    bindparam("payload", type_=JSONB),
)
"""Adds an event in one statement, as a short execution has four of them."""


class Place(NamedTuple):
    """The owner of an execution's events: a workspace, or the project that the execution clones."""

    workspace_id: UUID | None
    project_id: UUID | None


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
    values = {
        "workspace_id": workspace_id,
        "operation_id": operation_id,
        "kind": kind,
        "terminal": terminal,
        "payload": dict(payload or {}),
    }
    return int(connection.execute(_APPEND, values).scalar_one())


def append_to_project(
    connection: Connection,
    project_id: UUID,
    kind: EventKind,
    payload: Mapping[str, Any] | None = None,
    *,
    operation_id: UUID | None = None,
    terminal: bool = False,
) -> None:
    """Add an event of a project that belongs to none of its workspaces; the arguments are those of `append`."""
    connection.execute(
        insert(Event).values(
            project_id=project_id,
            operation_id=operation_id,
            sequence=_next_sequence(connection, operation_id),
            kind=kind,
            terminal=terminal,
            payload=dict(payload or {}),
        )
    )


def append_to_execution(
    connection: Connection,
    execution_id: UUID,
    place: Place,
    kind: EventKind,
    payload: Mapping[str, Any] | None = None,
    *,
    terminal: bool = False,
) -> None:
    """Add an event of an execution, to its workspace or, if it has none, to its project (`append`)."""
    if place.workspace_id is not None:
        append(connection, place.workspace_id, kind, payload, operation_id=execution_id, terminal=terminal)
    elif place.project_id is not None:
        append_to_project(connection, place.project_id, kind, payload, operation_id=execution_id, terminal=terminal)


def _next_sequence(connection: Connection, operation_id: UUID | None) -> int | None:
    if operation_id is None:
        return None
    return connection.scalar(
        update(ExecutionProcess)
        .where(ExecutionProcess.id == operation_id)
        .values(event_sequence=ExecutionProcess.event_sequence + 1)
        .returning(ExecutionProcess.event_sequence)
    )


def of_workspace(connection: Connection, workspace_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events of one workspace after the cursor ``after`` (0: from the first), in order."""
    statement = (
        select(Event)
        .where(Event.workspace_id == workspace_id, Event.workspace_seq > after)
        .order_by(Event.workspace_seq)
        .limit(limit)
    )
    return [as_event(row) for row in connection.execute(statement).mappings()]


def of_run(connection: Connection, workspace_id: UUID, run_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events of the executions of one run after the cursor ``after`` of its workspace, in order."""
    operations = select(ExecutionProcess.id).where(ExecutionProcess.run_id == run_id)
    statement = (
        select(Event)
        .where(Event.workspace_id == workspace_id, Event.workspace_seq > after, Event.operation_id.in_(operations))
        .order_by(Event.workspace_seq)
        .limit(limit)
    )
    return [as_event(row) for row in connection.execute(statement).mappings()]


def of_operation(connection: Connection, operation_id: UUID) -> list[EventRow]:
    """Return all events of one execution, by sequence."""
    statement = select(Event).where(Event.operation_id == operation_id).order_by(Event.sequence)
    return [as_event(row) for row in connection.execute(statement).mappings()]


def workspace_cursors(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the cursor of the newest event of each workspace, by workspace id."""
    rows = connection.execute(select(Workspace.id, Workspace.event_seq).where(Workspace.id.in_(ids)))
    return {row.id: row.event_seq for row in rows}


def as_event(row: Any) -> EventRow:
    """Return a row of the table as an event."""
    return EventRow(
        row["workspace_seq"],
        row["workspace_id"],
        row["project_id"],
        row["operation_id"],
        row["sequence"],
        row["kind"],
        row["terminal"],
        row["payload"],
        row["created_at"],
        row["position"],
    )
