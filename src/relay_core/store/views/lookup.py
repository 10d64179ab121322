"""Finds the id for which a client's text stands: its first digits, the id of a related resource, or a project's name.

Rows that the client may not see are never read, so they make no id ambiguous and appear in no message.
"""

from uuid import UUID

from sqlalchemy import Connection

from relay_core.domain.errors import Ambiguous, Candidate, InvalidInput, NotFound
from relay_core.domain.short_id import MIN_DIGITS, IdRange, id_range
from relay_core.store.schema.tables import Project
from relay_core.store.tokens import Principal
from relay_core.store.views.found_rows import MOST, Found, Kind, in_range, projects, read, with_id
from relay_core.store.views.related import Aim, meant_by

__all__ = ["Aim", "Kind", "exact", "resolve"]


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
            (a workspace for its newest session, an execution for its workspace, …); for a project also its name.
        principal: the client; only its own rows count, unless it is an admin.
        aim: the rule that chooses from several executions or runs; None: ids of related resources are not accepted.
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: the text stands for several resources; the error lists them.
        NotFound: the text stands for no resource that the principal may see.
    """
    wanted, ids = Kind(kind), id_range(text)
    if wanted is Kind.PROJECT and (ids is None or not ids.is_whole):
        named = _named(connection, text, principal)
        if named:
            return _one(text, {project.id: project for project in named})
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


def exact(connection: Connection, kind: str, text: str, principal: Principal) -> UUID | None:
    """Return the id that ``text`` is, if there is such a resource: the usual case, which takes one statement at most.

    None: use `resolve`.
    """
    ids = id_range(text)
    if ids is None or not ids.is_whole:
        return None
    found = with_id(connection, Kind(kind), ids.first, principal)
    return None if found is None or found.gone else found.id


def _named(connection: Connection, name: str, principal: Principal) -> list[Found]:
    """Return the projects with this name: the principal's own, else those of others that it may see."""
    named = projects(principal.only).where(Project.name == name, Project.deleted_at.is_(None)).limit(MOST)
    return read(connection, named.where(Project.created_by == principal.owner)) or read(connection, named)


def _one(text: str, meant: dict[UUID, Found]) -> UUID:
    if len(meant) > 1:
        rows = sorted(meant.values(), key=lambda row: (row.created_at, row.id), reverse=True)[:MOST]
        raise Ambiguous(text, [Candidate(row.kind, row.id, row.title, row.created_at) for row in rows])
    return next(iter(meant))


def _unusable(kind: Kind, text: str, field: str | None) -> InvalidInput | NotFound:
    if kind is Kind.PROJECT:
        return NotFound(f"there is no project {text!r}; give a project's name or id")
    message = f"an id, or its first characters, is needed: {MIN_DIGITS} or more of 0-9 and a-f"
    return InvalidInput(message, code="validation_failed", field=field)


def _missing(kind: Kind, text: str, ids: IdRange, found: list[Found]) -> NotFound:
    if found:
        other = found[0]
        return NotFound(f"{text} is a {other.kind}, and there is no {kind} that it stands for")
    which = str(ids.first) if ids.is_whole else f"whose id begins with {text}"
    return NotFound(f"there is no {kind} {which}")
