"""Operations beside executions: acts with an outcome, each with events 1..n of which the last one ends it.

Executions are operations, too; they count their events in their own row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.store import events
from relay_core.store.schema.tables import Operation

OP = Operation
_COLUMNS = ("id", "kind", "subject_kind", "subject_id", "workspace_id", "owner")
_OVER = {"event_sequence": 1, "completed_at": func.now()}
_RECORD = events.ADD.add_cte(
    insert(OP).values({**{name: bindparam(f"operation_{name}") for name in _COLUMNS}, **_OVER}).cte("beside")
)
"""Inserts an operation that is over, and its only event."""


@dataclass(frozen=True)
class Subject:
    """The thing that an operation and its events are about."""

    kind: SubjectKind
    id: str
    owner: str | None = None
    """The owner who may read the events; None: admins only, or for a workspace its owner."""

    @property
    def workspace_id(self) -> UUID | None:
        """The workspace whose event list has the events, too; None if the subject is no workspace."""
        return UUID(self.id) if self.kind is SubjectKind.WORKSPACE else None


def of_workspace(workspace_id: UUID) -> Subject:
    """Return a workspace as a subject."""
    return Subject(SubjectKind.WORKSPACE, str(workspace_id))


def of_project(project_id: UUID, owner: str) -> Subject:
    """Return a project as a subject, whose events its owner may read."""
    return Subject(SubjectKind.PROJECT, str(project_id), owner)


def record(
    connection: Connection, kind: OperationKind, subject: Subject, event: EventKind, payload: Mapping[str, Any]
) -> UUID:
    """Insert an operation that is over at once, with its only event; return its id."""
    operation_id = uuid4()
    values = {f"operation_{name}": value for name, value in _values(operation_id, kind, subject).items()}
    numbered = events.Numbered(operation_id, 1, terminal=True)
    events.add(connection, _about(subject), event, payload, numbered, (_RECORD, values))
    return operation_id


def begin(connection: Connection, kind: OperationKind, subject: Subject) -> UUID | None:
    """Insert an operation without events; return its id. None if the subject has an open one of this kind."""
    made = insert(OP).values(_values(uuid4(), kind, subject)).on_conflict_do_nothing().returning(OP.id)
    return connection.scalar(made)


def open_of(connection: Connection, kinds: Sequence[OperationKind], subject: Subject) -> UUID | None:
    """Return the newest open operation of a subject that has one of these kinds; None if there is none."""
    mine = (OP.subject_kind == subject.kind) & (OP.subject_id == subject.id)
    found = select(OP.id).where(mine, OP.kind.in_(kinds), OP.completed_at.is_(None))
    return connection.scalar(found.order_by(OP.created_at.desc()).limit(1))


def append(
    connection: Connection,
    operation_id: UUID,
    kind: EventKind,
    payload: Mapping[str, Any] | None = None,
    *,
    terminal: bool = False,
) -> bool:
    """Add the next event of an open operation; a terminal one ends it.

    Returns:
        Whether it was added; False if the operation is over or unknown.
    """
    ended = {"completed_at": func.now()} if terminal else {}
    row = connection.execute(
        update(OP)
        .where(OP.id == operation_id, OP.completed_at.is_(None))
        .values(event_sequence=OP.event_sequence + 1, **ended)
        .returning(OP.event_sequence, OP.subject_kind, OP.subject_id, OP.owner)
    ).one_or_none()
    if row is None:
        return False
    subject = Subject(SubjectKind(row.subject_kind), row.subject_id, row.owner)
    numbered = events.Numbered(operation_id, row.event_sequence, terminal=terminal)
    events.add(connection, _about(subject), kind, payload or {}, numbered)
    return True


def _about(subject: Subject) -> events.About:
    if subject.workspace_id is not None:
        return events.About(subject.workspace_id)
    if subject.kind is SubjectKind.PROJECT:
        return events.About(None, UUID(subject.id))
    return events.About(None, None, subject.kind, subject.id, subject.owner)


def _values(operation_id: UUID, kind: OperationKind, subject: Subject) -> dict[str, Any]:
    return {
        "id": operation_id,
        "kind": kind,
        "subject_kind": subject.kind,
        "subject_id": subject.id,
        "workspace_id": subject.workspace_id,
        "owner": subject.owner,
    }
