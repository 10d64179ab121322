"""Limits on concurrent runs of projects, owners and pools, as an administrator sets them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.admission import LimitKind
from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.store.admission.facts import EACH
from relay_core.store.schema.tables import Project, RunLimit
from relay_core.store.transaction import admit_next


@dataclass(frozen=True)
class StoredLimit:
    """The most runs that may be at work at once for one name, or for each one without a limit of its own (`*`)."""

    kind: LimitKind
    name: str
    max_runs: int


def listed(connection: Connection) -> list[StoredLimit]:
    """Return all limits by kind and name."""
    rows = connection.execute(select(RunLimit).order_by(RunLimit.kind, RunLimit.name)).mappings()
    return [StoredLimit(LimitKind(row["kind"]), row["name"], row["max_runs"]) for row in rows]


def put(connection: Connection, kind: LimitKind, name: str, max_runs: int) -> StoredLimit:
    """Set a limit. Waiting runs that it lets in are admitted at the end of the transaction; none is ended.

    Raises:
        InvalidInput: the name of a project is not the id of one.
    """
    if kind is LimitKind.PROJECT and name != EACH:
        name = _project(connection, name)
    row = insert(RunLimit).values(kind=kind, name=name, max_runs=max_runs)
    connection.execute(row.on_conflict_do_update(index_elements=["kind", "name"], set_={"max_runs": max_runs}))
    admit_next(connection)
    return StoredLimit(kind, name, max_runs)


def remove(connection: Connection, kind: LimitKind, name: str) -> None:
    """Remove a limit. Waiting runs that it held back are admitted at the end of the transaction.

    Raises:
        NotFound: there is no such limit.
    """
    if not connection.execute(delete(RunLimit).where(RunLimit.kind == kind, RunLimit.name == name)).rowcount:
        raise NotFound(f"there is no limit of the {kind} {name}")
    admit_next(connection)


def _project(connection: Connection, text: str) -> str:
    try:
        found = connection.scalar(select(Project.id).where(Project.id == UUID(text), Project.deleted_at.is_(None)))
    except ValueError:
        found = None
    if found is None:
        message = f"there is no project with the id {text}; `relay project ls` lists ids, `*` stands for each project"
        raise InvalidInput(message, field="path.name")
    return str(found)
