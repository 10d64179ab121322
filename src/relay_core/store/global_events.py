"""All events in one order, by `position`. A reader of that order misses no event.

An event gets its position after its transaction has committed, from a transaction that gives positions under a lock.
So an event that is visible later always has a greater position, and an open transaction holds up nothing but its own
events. Positions are plain numbers: they survive a dump and a restore into another server.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from relay_core.store.events import EventRow, as_event
from relay_core.store.outage import is_read_only
from relay_core.store.schema.tables import Event, Project, Workspace
from relay_core.store.transaction import Database

_BATCH = 10_000
"""Most events that get a position in one transaction."""
_ANY_WITHOUT = select(select(Event.id).where(Event.position.is_(None)).exists())
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('relay.events.position'))")
_GIVE = text(
    """
    WITH new AS (
      SELECT id, row_number() OVER (ORDER BY id) AS place
      FROM (SELECT id FROM events WHERE position IS NULL ORDER BY id LIMIT :batch) first_ones
    ), newest AS (SELECT coalesce(max(position), 0) AS position FROM events)
    UPDATE events SET position = newest.position + new.place FROM new, newest WHERE events.id = new.id
    """
)


class GlobalPage(NamedTuple):
    """A page of the events of all workspaces, and the position after which the next page begins."""

    events: list[EventRow]
    cursor: int


def give_positions(database: Database) -> None:
    """Give all committed events that have no position the next ones.

    A server that takes no writes is left as it is: readers then see the events that have a position.
    """
    try:
        while _give_batch(database) == _BATCH:
            pass
    except DBAPIError as error:
        if not is_read_only(error):
            raise


def page(database: Database, after: int, limit: int = 500, created_by: str | None = None) -> GlobalPage:
    """Return all committed events after the position ``after``, in order.

    Args:
        database: where the events are.
        after: the cursor of the page before; 0: from the first event.
        limit: most events on a page.
        created_by: owner whose workspaces, projects and credentials are shown; None: all. The cursor also passes the
            events of other owners.
    """
    give_positions(database)
    statements = [select(Event).where(Event.position > after).order_by(Event.position).limit(limit)]
    if created_by is not None:  # several statements, so that Postgres can begin with the owner in each
        mine = select(Workspace.id).where(Workspace.created_by == created_by)
        own = select(Project.id).where(Project.created_by == created_by)
        [all_of_them] = statements
        of_projects = all_of_them.where(Event.project_id.is_not(None), Event.project_id.in_(own))
        of_credentials = all_of_them.where(Event.owner == created_by)
        statements = [all_of_them.where(Event.workspace_id.in_(mine)), of_projects, of_credentials]
    with database.connect() as connection:
        # Read before the page: a later read could pass an event that the page does not have yet.
        last = _newest(connection)
        found = [row for statement in statements for row in connection.execute(statement).mappings()]
    rows: Sequence[Any] = sorted(found, key=lambda row: row["position"] or 0)[:limit]
    if len(rows) == limit:
        return GlobalPage([as_event(row) for row in rows], rows[-1]["position"])
    return GlobalPage([as_event(row) for row in rows], max(after, last, *(row["position"] for row in rows[-1:])))


def newest(database: Database) -> int:
    """Return the position of the newest committed event; 0 if there is none."""
    give_positions(database)
    with database.connect() as connection:
        return _newest(connection)


def position_of(database: Database, event_id: int) -> int:
    """Return the position of an event by its id, for cursors of earlier versions; 0 if there is no such event."""
    give_positions(database)
    with database.connect() as connection:
        return connection.scalar(select(Event.position).where(Event.id == event_id)) or 0


def _give_batch(database: Database) -> int:
    """Return the number of events that got a position."""
    with database.begin() as connection:
        if not connection.scalar(_ANY_WITHOUT):
            return 0
        connection.execute(_LOCK)
        return connection.execute(_GIVE, {"batch": _BATCH}).rowcount


def _newest(connection: Connection) -> int:
    return connection.scalar(select(func.max(Event.position))) or 0
