"""Finds the id for which a client's text stands: its first digits, the id of a related resource, or a name.

Rows that the client may not see are never read, so they make no id ambiguous and appear in no message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select
from sqlalchemy.orm import InstrumentedAttribute

from relay_core.domain.errors import Ambiguous, Candidate, InvalidInput, NotFound
from relay_core.domain.short_id import MIN_DIGITS, IdRange, id_range
from relay_core.store.schema.tables import Project, Repo
from relay_core.store.tokens import Principal
from relay_core.store.views.found_rows import MOST, Found, Kind, Owner, in_range, projects, read, repos, with_id
from relay_core.store.views.related import Aim, meant_by

__all__ = ["Aim", "Among", "Kind", "exact", "resolve", "resolve_among"]


def resolve(
    connection: Connection,
    kind: str,
    text: str,
    principal: Principal,
    *,
    aim: Aim | None = Aim.AGENT,
    field: str | None = None,
) -> UUID:
    """Return the id of the resource of a kind for which a client's text stands.

    Args:
        connection: any transaction.
        kind: a `Kind`.
        text: an id; its first digits (`MIN_DIGITS` or more); the id, or the first digits of it, of a related resource
            (a workspace for its newest session, an execution for its workspace, …); for a project or a repo
            also its name.
        principal: the client; only its own rows count, unless it is an admin.
        aim: the rule that chooses from several executions or runs; None: ids of related resources are not accepted.
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: the text stands for several resources; the error lists them.
        NotFound: the text stands for no resource that the principal may see.
    """
    wanted, ids = Kind(kind), id_range(text)
    if wanted in _WITH_NAMES and (ids is None or not ids.is_whole):
        named = _named(connection, wanted, text, principal)
        if named:
            return _one(text, {row.id: row for row in named})
    if ids is None:
        raise _unusable(wanted, text, field)
    if itself := exact(connection, wanted, text, principal):
        return itself
    found = in_range(connection, ids, principal)
    meant: dict[UUID, Found] = {}
    for row in [row for row in found if not row.gone] or found:
        got = row.id if row.kind is wanted else meant_by(connection, wanted, row, principal, aim) if aim else []
        meant |= {got: row} if isinstance(got, UUID) else {other.id: other for other in got}
    if not meant:
        raise _missing(wanted, text, ids, found)
    return _one(text, meant)


@dataclass(frozen=True)
class Among:
    """The rows of resources that stand for nothing else, so that nothing related to them is looked for."""

    kind: str
    """Word for the resource in errors."""
    rows: Select[Any]
    """Selects the rows that the client may see, with the columns `id` and `created_at`."""
    row_id: InstrumentedAttribute[UUID]
    created_at: InstrumentedAttribute[datetime]
    title: str
    """Name of the column by which people recognise a row."""


def resolve_among(connection: Connection, text: str, among: Among, field: str) -> UUID:
    """Return the id of the one row for which a whole id, or the first digits of one, stands.

    Args:
        connection: any transaction.
        text: the id, or its first digits (`MIN_DIGITS` or more).
        among: the rows.
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: several rows have ids that begin so; the error lists them.
        NotFound: no row has such an id.
    """
    ids = id_range(text)
    if ids is None:
        raise _no_id(field)
    wanted = among.rows.where(among.row_id.between(ids.first, ids.last)).order_by(among.created_at.desc()).limit(MOST)
    found = connection.execute(wanted).mappings().all()
    if not found:
        raise NotFound(f"there is no {among.kind} {_which(text, ids)}")
    if len(found) > 1:
        raise Ambiguous(text, [Candidate(among.kind, row["id"], row[among.title], row["created_at"]) for row in found])
    row_id: UUID = found[0]["id"]
    return row_id


def exact(connection: Connection, kind: str, text: str, principal: Principal) -> UUID | None:
    """Return the id that ``text`` is, if there is such a resource: the usual case, which takes one statement at most.

    None: use `resolve`.
    """
    ids = id_range(text)
    if ids is None or not ids.is_whole:
        return None
    found = with_id(connection, Kind(kind), ids.first, principal)
    return None if found is None or found.gone else found.id


_WITH_NAMES: Mapping[Kind, tuple[Callable[[Owner], Select[Any]], type[Project | Repo]]] = {
    Kind.PROJECT: (projects, Project),
    Kind.REPO: (repos, Repo),
}
"""Kinds that are also found by their names."""


def _named(connection: Connection, kind: Kind, name: str, principal: Principal) -> list[Found]:
    """Return the rows of a kind with this name: the principal's own, else those of others that it may see."""
    of_kind, table = _WITH_NAMES[kind]
    named = of_kind(principal.only).where(table.name == name, table.deleted_at.is_(None)).limit(MOST)
    return read(connection, named.where(table.created_by == principal.owner)) or read(connection, named)


def _one(text: str, meant: dict[UUID, Found]) -> UUID:
    if len(meant) > 1:
        rows = sorted(meant.values(), key=lambda row: (row.created_at, row.id), reverse=True)[:MOST]
        raise Ambiguous(text, [Candidate(row.kind, row.id, row.title, row.created_at) for row in rows])
    return next(iter(meant))


def _unusable(kind: Kind, text: str, field: str | None) -> InvalidInput | NotFound:
    if kind in _WITH_NAMES:
        return NotFound(f"there is no {kind} {text!r}; give a {kind}'s name or id")
    return _no_id(field)


def _no_id(field: str | None) -> InvalidInput:
    message = f"an id, or its first characters, is needed: {MIN_DIGITS} or more of 0-9 and a-f"
    return InvalidInput(message, code="validation_failed", field=field)


def _which(text: str, ids: IdRange) -> str:
    return str(ids.first) if ids.is_whole else f"whose id begins with {text}"


def _missing(kind: Kind, text: str, ids: IdRange, found: list[Found]) -> NotFound:
    if found:
        other = found[0]
        return NotFound(f"{text} is a {other.kind}, and there is no {kind} that it stands for")
    return NotFound(f"there is no {kind} {_which(text, ids)}")
