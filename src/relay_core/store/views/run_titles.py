"""The search for runs by a text in their titles.

A text that many titles contain is found among the newest runs; for others there is an index of the parts of titles.
"""

from typing import Any

from sqlalchemy import Select, func, select

from relay_core.store.schema.tables import Run
from relay_core.store.views.paging import PageRequest, paged

NEWEST = 1000
"""Runs whose titles are read before the index is asked."""
GRAM = 3
"""Characters of the parts of titles that the index has (the function `relay_grams` of the schema)."""


def among_newest(statement: Select[Any], q: str, page: PageRequest) -> Select[Any]:
    """Return the page of the runs whose titles contain ``q``, among the newest of a statement's runs.

    If the page is full, it is that of `containing`, too.

    Args:
        statement: a query that selects from `Run`, without order and limit.
        q: the text; upper and lower case count as the same.
        page: the part of the list.
    """
    columns: list[Any] = [Run.id, Run.title]
    newest = PageRequest(NEWEST, page.after)
    near = paged(statement.with_only_columns(*columns), Run.created_at, Run.id, newest, newest_first=True).subquery()
    found = select(near.c.id).where(near.c.title.icontains(q, autoescape=True))
    return paged(statement.where(Run.id.in_(found)), Run.created_at, Run.id, page, newest_first=True)


def containing(statement: Select[Any], q: str) -> Select[Any]:
    """Return a statement limited to the runs whose titles contain ``q``."""
    statement = statement.where(Run.title.icontains(q, autoescape=True))
    if len(q) < GRAM:
        return statement
    return statement.where(func.relay_grams(Run.title).op("@>")(func.relay_grams(q)))
