"""Stores scratch: drafts, notes and preferences of people. Each owner has its own, which no other client sees."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.domain.json_values import fault_of
from relay_core.domain.vocabulary import ScratchType
from relay_core.store.schema.tables import Scratch
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]
MOST_BYTES = 1024 * 1024
"""Most bytes of a payload as JSON."""
_COLUMNS = (Scratch.scratch_type, Scratch.id, Scratch.payload, Scratch.created_at, Scratch.updated_at)


class Place(NamedTuple):
    """The address of a piece of scratch among those of its owner."""

    scratch_type: ScratchType
    id: UUID


def check(payload: Mapping[str, Any]) -> None:
    """Raise an error unless the values of a payload can be stored.

    Raises:
        InvalidInput: `scratch_invalid`.
    """
    if fault := fault_of(payload):
        message = f"the payload has {fault}, which cannot be stored"
        raise InvalidInput(message, code="scratch_invalid", field="payload")


def put(connection: Connection, place: Place, payload: Mapping[str, Any], principal: Principal) -> View:
    """Store a payload, in place of an earlier one, and return it with its times.

    An equal payload writes nothing: programs store drafts again and again while a person types.

    Raises:
        InvalidInput: `scratch_too_large`, `scratch_invalid`: a value in it cannot be stored.
    """
    text = json.dumps(payload, ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise InvalidInput(
            f"a payload has at most {MOST_BYTES} bytes as JSON", code="scratch_too_large", field="payload"
        )
    check(payload)
    new = upsert(Scratch).values(created_by=principal.owner, payload=dict(payload), **place._asdict())
    new = new.on_conflict_do_update(
        index_elements=["created_by", "scratch_type", "id"],
        set_={"payload": new.excluded.payload, "updated_at": func.now()},
        where=Scratch.payload.is_distinct_from(new.excluded.payload),
    )
    connection.execute(new)
    return get(connection, place, principal)


def get(connection: Connection, place: Place, principal: Principal) -> View:
    """Return a piece of scratch of the principal.

    Raises:
        NotFound: the principal has none at this place.
    """
    row = connection.execute(select(*_COLUMNS).where(_at(place, principal))).mappings().one_or_none()
    if row is None:
        raise _missing(place)
    return dict(row)


def listed(
    connection: Connection, principal: Principal, page: PageRequest, scratch_type: ScratchType | None = None
) -> Page:
    """Return a page of the principal's scratch, newest first; of one type, or of all."""
    statement = select(*_COLUMNS).where(Scratch.created_by == principal.owner)
    if scratch_type is not None:
        statement = statement.where(Scratch.scratch_type == scratch_type)
    rows = connection.execute(paged(statement, Scratch.created_at, Scratch.id, page, newest_first=True)).mappings()
    return cut([dict(row) for row in rows], page)


def remove(connection: Connection, place: Place, principal: Principal) -> None:
    """Delete a piece of scratch of the principal.

    Raises:
        NotFound: the principal has none at this place.
    """
    if not connection.execute(delete(Scratch).where(_at(place, principal))).rowcount:
        raise _missing(place)


def _at(place: Place, principal: Principal) -> ColumnElement[bool]:
    return and_(
        Scratch.created_by == principal.owner,
        Scratch.scratch_type == place.scratch_type,
        Scratch.id == place.id,
    )


def _missing(place: Place) -> NotFound:
    return NotFound(f"there is no {place.scratch_type} with the id {place.id}")
