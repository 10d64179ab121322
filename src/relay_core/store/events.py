"""Events: numbered without gaps per operation and per workspace (`store.global_events`: in one order over all).

An event is about a workspace, or about another subject (`store.operations`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Insert,
    String,
    Uuid,
    bindparam,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from relay_core.domain.events import EventKind
from relay_core.domain.operations import SubjectKind
from relay_core.store.schema.tables import Event, ExecutionProcess, Project, Workspace


@dataclass(frozen=True)
class EventRow:
    """An event as it was read.

    Attributes:
        operation_id: the execution, or other operation, that the event belongs to; None: none.
        sequence: position among the events of the operation, 1..n without gaps; None without an operation.
        terminal: whether it is the last event of its operation.
    """

    cursor: int | None
    """Position among the events of the workspace, 1..n without gaps; None for an event without a workspace."""
    workspace_id: UUID | None
    project_id: UUID | None
    """The project that the event is about; None for an event about something else."""
    operation_id: UUID | None
    sequence: int | None
    kind: str
    terminal: bool
    payload: Mapping[str, Any]
    created_at: datetime
    position: int | None
    """Position among all events, 1..n; None until one is given (`global_events.give_positions`)."""
    subject_kind: SubjectKind
    subject_id: str


# Built once: building these statements costs more than carrying them out.
_OF_OPERATION = select(Event).where(Event.operation_id == bindparam("operation")).order_by(Event.sequence)
_OF_WORKSPACE = (
    select(Event)
    .where(Event.workspace_id == bindparam("workspace"), Event.workspace_seq > bindparam("after"))
    .order_by(Event.workspace_seq)
    .limit(bindparam("most"))
)
_OF_RUN = _OF_WORKSPACE.where(
    Event.operation_id.in_(select(ExecutionProcess.id).where(ExecutionProcess.run_id == bindparam("run")))
)
_APPEND = text("SELECT append_event(:workspace_id, :operation_id, :kind, :terminal, :payload)").bindparams(
    bindparam("workspace_id", type_=Uuid),
    bindparam("operation_id", type_=Uuid),
    bindparam("kind", type_=String),
    bindparam("terminal", type_=Boolean),
    bindparam("payload", type_=JSONB),
)
"""Adds an event in one request with a kept plan, as a short execution has four of them."""


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


class About(NamedTuple):
    """The columns of an event that name its subject."""

    workspace_id: UUID | None
    """The workspace in whose list the event is; None: none."""
    project_id: UUID | None = None
    """The project that it is about; None: none."""
    subject_kind: SubjectKind | None = None
    """None: the subject is the workspace or the project."""
    subject_id: str | None = None
    owner: str | None = None


class Numbered(NamedTuple):
    """The place of an event in its operation."""

    operation_id: UUID | None
    sequence: int | None
    terminal: bool


_OWN = ("workspace_seq", "kind", "payload")
ADD = insert(Event).values({name: bindparam(f"event_{name}") for name in (*About._fields, *Numbered._fields, *_OWN)})
"""The insert of an event, whose parameters are named `event_…`."""
_NEXT_CURSOR = (
    update(Workspace)
    .where(Workspace.id == bindparam("workspace"))
    .values(event_seq=Workspace.event_seq + 1)
    .returning(Workspace.event_seq)
)


def add(
    connection: Connection,
    about: About,
    kind: EventKind,
    payload: Mapping[str, Any],
    numbered: Numbered,
    beside: tuple[Insert, Mapping[str, Any]] | None = None,
) -> int | None:
    """Insert an event whose place in its operation is known, in the caller's transaction.

    Args:
        connection: the transaction that makes the change which the event reports.
        about: its subject.
        kind: the kind of event.
        payload: its fields, see `EventKind`.
        numbered: its operation, and its place there.
        beside: `ADD` with an act that the same statement carries out, and the parameters of that act.

    Returns:
        The event's cursor in its workspace; None without a workspace.
    """
    cursor = None
    if about.workspace_id is not None:
        cursor = connection.execute(_NEXT_CURSOR, {"workspace": about.workspace_id}).scalar_one()
    own = {"workspace_seq": cursor, "kind": kind, "payload": dict(payload)}
    event = {f"event_{name}": value for name, value in {**about._asdict(), **numbered._asdict(), **own}.items()}
    statement, values = beside or (ADD, {})
    connection.execute(statement, {**event, **values})
    return cursor


def of_workspace(connection: Connection, workspace_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events of one workspace after the cursor ``after`` (0: from the first), in order."""
    values = {"workspace": workspace_id, "after": after, "most": limit}
    return [as_event(row) for row in connection.execute(_OF_WORKSPACE, values).mappings()]


def of_run(connection: Connection, workspace_id: UUID, run_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events of the executions of one run after the cursor ``after`` of its workspace, in order."""
    values = {"workspace": workspace_id, "run": run_id, "after": after, "most": limit}
    return [as_event(row) for row in connection.execute(_OF_RUN, values).mappings()]


def of_operation(connection: Connection, operation_id: UUID, owner: str | None = None) -> list[EventRow]:
    """Return all events of one execution or other operation, by sequence.

    Args:
        connection: any transaction.
        operation_id: the operation.
        owner: only events that this owner may read; None: all.
    """
    statement = _OF_OPERATION if owner is None else _OF_OPERATION.where(readable_by(owner))
    return [as_event(row) for row in connection.execute(statement, {"operation": operation_id}).mappings()]


def readable_by(owner: str) -> ColumnElement[bool]:
    """Return the condition of the events that an owner may read: of its workspaces, projects and credentials.

    It looks up the owner for each event. With ``IN``, Postgres would read all workspaces of the owner first.
    """
    of_workspace = select(Workspace.created_by).where(Workspace.id == Event.workspace_id).scalar_subquery()
    of_project = select(Project.created_by).where(Project.id == Event.project_id).scalar_subquery()
    return (of_workspace == owner) | (of_project == owner) | (Event.owner == owner)


def of_project(connection: Connection, project_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """Return events about a project itself after a position (`global_events`), in order."""
    return _of(connection, Event.project_id == project_id, after, limit)


def of_node(connection: Connection, node_id: str, after: int, limit: int = 500) -> list[EventRow]:
    """Return events about a node after a position (`global_events`), in order."""
    about = (Event.subject_kind == SubjectKind.NODE) & (Event.subject_id == node_id)
    return _of(connection, about, after, limit)


def _of(connection: Connection, which: ColumnElement[bool], after: int, limit: int) -> list[EventRow]:
    statement = select(Event).where(which, Event.position > after).order_by(Event.position).limit(limit)
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
        *_subject(row),
    )


def _subject(row: Any) -> tuple[SubjectKind, str]:
    if row["workspace_id"] is not None:
        return SubjectKind.WORKSPACE, str(row["workspace_id"])
    if row["project_id"] is not None:
        return SubjectKind.PROJECT, str(row["project_id"])
    return SubjectKind(row["subject_kind"]), row["subject_id"]
