"""Pages of lists by a cursor of (created_at, id): stable while rows are added, and cheap at any depth."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from relay_core.domain.errors import InvalidInput


class Position(NamedTuple):
    """The last row that a client has seen."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True)
class PageRequest:
    """The part of a list that a client asks for.

    Attributes:
        limit: most rows of the page.
        after: the last row of the page before; None: begin with the first row.
    """

    limit: int = 50
    after: Position | None = None


@dataclass(frozen=True)
class Page:
    """Rows as plain values, and the cursor of the next page (None: this is the last page)."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def encode(position: Position) -> str:
    """Return the position as a cursor: an opaque text that needs no quoting in a URL."""
    text = f"{position.created_at.isoformat()}|{position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> Position:
    """Return the position that a cursor stands for.

    Raises:
        InvalidInput: `cursor_invalid`: the cursor was not made by `encode`.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, row_id = text.partition("|")
        return Position(datetime.fromisoformat(moment).astimezone(UTC), UUID(row_id))
    except (ValueError, OverflowError, binascii.Error) as error:
        message = "the cursor is not one of this API; take next_cursor of the page before, or leave it out"
        raise InvalidInput(message, code="cursor_invalid", field="cursor") from error


def paged(
    statement: Select[Any],
    created_at: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    page: PageRequest,
    *,
    newest_first: bool,
) -> Select[Any]:
    """Return the statement with order, start and limit of a page.

    The limit is one row more than the page has: that row shows `cut` that there is a next page.
    """
    here = tuple_(created_at, row_id)
    if page.after is not None:
        there = tuple_(page.after.created_at, page.after.id)
        statement = statement.where(here < there if newest_first else here > there)
    order = (created_at.desc(), row_id.desc()) if newest_first else (created_at, row_id)
    return statement.order_by(*order).limit(page.limit + 1)


def cut(rows: list[dict[str, Any]], page: PageRequest) -> Page:
    """Return the page made of the rows of a `paged` statement; each row has `created_at` and `id`."""
    if len(rows) <= page.limit:
        return Page(rows, None)
    kept = rows[: page.limit]
    return Page(kept, encode(Position(kept[-1]["created_at"], kept[-1]["id"])))
