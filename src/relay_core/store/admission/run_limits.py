"""Limits on concurrent runs of projects, owners and pools, as an administrator sets them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Text, cast, delete, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.admission import LimitKind
from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.store.admission.facts import EACH
from relay_core.store.schema.tables import Project, RunLimit
from relay_core.store.tokens import Principal
from relay_core.store.transaction import admit_next


@dataclass(frozen=True)
class StoredLimit:
    """The most runs that may be at work at once for one name, or for each one without a limit of its own (`*`)."""

    kind: LimitKind
    name: str
    max_runs: int
    project_name: str | None = None
    """Name of the project whose id is `name`; None if the limit applies to something else."""


def listed(connection: Connection, principal: Principal) -> list[StoredLimit]:
    """Return the limits that a client may see, by kind and name.

    An administrator sees all of them; others see those of pools, those of each one, and their own.
    """
    same = (RunLimit.kind == LimitKind.PROJECT) & (RunLimit.name == cast(Project.id, Text))
    columns = (RunLimit.kind, RunLimit.name, RunLimit.max_runs, Project.name.label("project_name"))
    statement = select(*columns).outerjoin(Project, same).order_by(RunLimit.kind, RunLimit.name)
    if principal.only is not None:
        mine = (RunLimit.kind == LimitKind.OWNER) & (RunLimit.name == principal.only)
        of_all = (RunLimit.kind == LimitKind.POOL) | (RunLimit.name == EACH)
        statement = statement.where(of_all | mine | (Project.created_by == principal.only))
    rows = connection.execute(statement)
    return [StoredLimit(LimitKind(row.kind), row.name, row.max_runs, row.project_name) for row in rows]


def put(connection: Connection, kind: LimitKind, name: str, max_runs: int) -> StoredLimit:
    """Set a limit. Waiting runs that it lets in are admitted at the end of the transaction; none is ended.

    Raises:
        InvalidInput: the name of a project is not the id of one.
    """
    project_name = None
    if kind is LimitKind.PROJECT and name != EACH:
        name, project_name = _project(connection, name)
    row = insert(RunLimit).values(kind=kind, name=name, max_runs=max_runs)
    connection.execute(row.on_conflict_do_update(index_elements=["kind", "name"], set_={"max_runs": max_runs}))
    admit_next(connection)
    return StoredLimit(kind, name, max_runs, project_name)


def remove(connection: Connection, kind: LimitKind, name: str) -> None:
    """Remove a limit, also that of a deleted project.

    Waiting runs that it held back are admitted at the end of the transaction.

    Raises:
        NotFound: there is no such limit.
    """
    if kind is LimitKind.PROJECT and (project_id := _id(name)) is not None:
        name = str(project_id)
    if not connection.execute(delete(RunLimit).where(RunLimit.kind == kind, RunLimit.name == name)).rowcount:
        raise NotFound(f"there is no limit of the {kind} {name}")
    admit_next(connection)


def _project(connection: Connection, text: str) -> tuple[str, str]:
    """Return id and name of the project with an id, which may be spelled in any way."""
    project_id = _id(text)
    found = select(Project.id, Project.name).where(Project.id == project_id, Project.deleted_at.is_(None))
    row = None if project_id is None else connection.execute(found).one_or_none()
    if row is None:
        message = f"there is no project with the id {text}; `relay project ls` lists ids, `*` stands for each project"
        raise InvalidInput(message, field="path.name")
    return str(row.id), row.name


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
