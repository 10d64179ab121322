"""Rows of every kind by the first digits of their ids; only those that the client may see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    SQLColumnExpression,
    Uuid,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from relay_core.domain.short_id import IdRange
from relay_core.store.schema.tables import ExecutionProcess, Project, Repo, Run, Session, Task, Workspace
from relay_core.store.tokens import Principal

E = ExecutionProcess
MOST = 20
"""Most rows of one kind that are read: if there are more, the id is ambiguous anyway."""
Owner = str | BindParameter[str] | None
"""The owner to whose rows a statement is limited, or a parameter for it; None: no limit."""
_OWNER: BindParameter[str] = bindparam("owner")


class Kind(StrEnum):
    """A kind of resource that has an id."""

    PROJECT = "project"
    TASK = "task"
    WORKSPACE = "workspace"
    SESSION = "session"
    RUN = "run"
    EXECUTION = "execution"
    REPO = "repo"


@dataclass(frozen=True)
class Found:
    """A row that an id may stand for.

    Attributes:
        kind: kind of the row.
        id: its id.
        title: text by which people recognise it.
        created_at: when it was inserted.
        gone: whether it, or the workspace or project that it belongs to, is deleted.
        above: ids of the rows that it belongs to, by kind.
    """

    kind: Kind
    id: UUID
    title: str | None
    created_at: datetime
    gone: bool
    above: Mapping[Kind, UUID]


def in_range(connection: Connection, ids: IdRange, principal: Principal) -> list[Found]:
    """Return the rows of all kinds whose ids are in the range, at most `MOST` of each kind."""
    statement = _in_range(limited=principal.only is not None)
    return read(connection, statement, first=ids.first, last=ids.last, owner=principal.only)


def with_id(connection: Connection, kind: Kind, row_id: UUID, principal: Principal) -> Found | None:
    """Return the row of one kind with this id; None if the principal sees none. Costs far less than `in_range`."""
    statement = _with_id(kind, limited=principal.only is not None)
    return next(iter(read(connection, statement, row_id=row_id, owner=principal.only)), None)


# Built once for each process: building these statements costs more than carrying them out.
@cache
def _in_range(*, limited: bool) -> CompoundSelect[Any]:
    between: tuple[BindParameter[UUID], BindParameter[UUID]] = bindparam("first"), bindparam("last")
    parts = [
        of_kind(_OWNER if limited else None).where(column.between(*between)).order_by(column).limit(MOST).subquery()
        for column, of_kind in _branches().values()
    ]
    return union_all(*(select(part) for part in parts))


@cache
def _with_id(kind: Kind, *, limited: bool) -> Select[Any]:
    column, of_kind = _branches()[kind]
    return of_kind(_OWNER if limited else None).where(column == bindparam("row_id"))


def _branches() -> Mapping[Kind, tuple[InstrumentedAttribute[UUID], Callable[[Owner], Select[Any]]]]:
    return {
        Kind.PROJECT: (Project.id, projects),
        Kind.TASK: (Task.id, _tasks),
        Kind.WORKSPACE: (Workspace.id, workspaces),
        Kind.SESSION: (Session.id, _sessions),
        Kind.RUN: (Run.id, _runs),
        Kind.EXECUTION: (E.id, _executions),
        Kind.REPO: (Repo.id, repos),
    }


def read(connection: Connection, statement: Any, **values: Any) -> list[Found]:
    """Return the rows of a statement that is made of the statements of this module, with values of its parameters."""
    return [
        Found(
            **{name: row[name] for name in ("id", "title", "created_at", "gone")},
            kind=Kind(row["kind"]),
            above={kind: row[f"{kind}_id"] for kind in _ABOVE if row[f"{kind}_id"] is not None},
        )
        for row in connection.execute(statement, values).mappings()
    ]


_ABOVE = (Kind.PROJECT, Kind.TASK, Kind.WORKSPACE, Kind.SESSION, Kind.RUN)


def _columns(kind: Kind, row_id: Any, title: Any, created_at: Any, gone: Any, **above: Any) -> list[ColumnElement[Any]]:
    parents = [above.get(name, cast(null(), Uuid)).label(f"{name}_id") for name in _ABOVE]
    own = [literal(kind.value).label("kind"), row_id.label("id"), title.label("title")]
    return [*own, created_at.label("created_at"), gone.label("gone"), *parents]


def projects(owner: Owner) -> Select[Any]:
    """Return a statement that selects the projects that an owner may see, for `read`; None: all of them."""
    columns = _columns(Kind.PROJECT, Project.id, Project.name, Project.created_at, Project.deleted_at.is_not(None))
    return _only(select(*columns), Project.created_by, owner)


def repos(owner: Owner) -> Select[Any]:
    """Return a statement that selects the repos that an owner may see, for `read`; None: all of them."""
    columns = _columns(Kind.REPO, Repo.id, Repo.name, Repo.created_at, Repo.deleted_at.is_not(None))
    return _only(select(*columns), Repo.created_by, owner)


def _tasks(owner: Owner) -> Select[Any]:
    gone = func.coalesce(Task.deleted_at, Project.deleted_at).is_not(None)
    columns = _columns(Kind.TASK, Task.id, Task.title, Task.created_at, gone, project=Task.project_id)
    return _only(select(*columns).join(Project, Project.id == Task.project_id), Task.created_by, owner)


def workspaces(owner: Owner) -> Select[Any]:
    """Return a statement that selects the workspaces that an owner may see, for `read`; None: all of them."""
    gone = Workspace.deleted_at.is_not(None)
    above = {"task": Workspace.task_id, "project": Task.project_id}
    columns = _columns(Kind.WORKSPACE, Workspace.id, Workspace.name, Workspace.created_at, gone, **above)
    return _only(select(*columns).join(Task, Task.id == Workspace.task_id), Workspace.created_by, owner)


def _sessions(owner: Owner) -> Select[Any]:
    gone = Workspace.deleted_at.is_not(None)
    columns = _columns(Kind.SESSION, Session.id, Session.executor, Session.created_at, gone, **_IN_WORKSPACE)
    statement = select(*columns).join(Workspace, Workspace.id == Session.workspace_id)
    return _only(statement.join(Task, Task.id == Workspace.task_id), Workspace.created_by, owner)


def _runs(owner: Owner) -> Select[Any]:
    gone = Workspace.deleted_at.is_not(None)
    above = {"session": Run.session_id, **_IN_WORKSPACE}
    columns = _columns(Kind.RUN, Run.id, Run.title, Run.created_at, gone, **above)
    statement = select(*columns).join(Workspace, Workspace.id == Run.workspace_id)
    return _only(statement.join(Task, Task.id == Workspace.task_id), Run.owner, owner)


def _executions(owner: Owner) -> Select[Any]:
    gone = func.coalesce(Workspace.deleted_at, Project.deleted_at).is_not(None)
    project_id = func.coalesce(Task.project_id, E.project_id)
    above = {"session": E.session_id, "run": E.run_id, **_IN_WORKSPACE, "project": project_id}
    columns = _columns(Kind.EXECUTION, E.id, E.run_reason, E.created_at, gone, **above)
    statement = select(*columns).select_from(E).outerjoin(Workspace, Workspace.id == E.workspace_id)
    statement = statement.outerjoin(Task, Task.id == Workspace.task_id).outerjoin(Project, Project.id == E.project_id)
    return _only(statement, func.coalesce(Workspace.created_by, Project.created_by), owner)


_IN_WORKSPACE = {"workspace": Workspace.id, "task": Workspace.task_id, "project": Task.project_id}


def _only(statement: Select[Any], column: SQLColumnExpression[str], owner: Owner) -> Select[Any]:
    return statement if owner is None else statement.where(column == owner)
