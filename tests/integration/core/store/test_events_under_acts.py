"""The event log after any acts: no gap, one terminal event, and a reader with a cursor gets each event once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text

from relay_core.store import events, global_events
from relay_core.store.schema.tables import Event, Workspace
from relay_core.store.transaction import Database
from tests.support.random_acts import REPOS, Acts
from tests.support.store_acts import submit

PROBLEMS = {
    "the sequence of an operation has a gap": """
        SELECT operation_id FROM events WHERE operation_id IS NOT NULL
        GROUP BY 1 HAVING min(sequence) <> 1 OR max(sequence) <> count(*)""",
    "the sequence of a workspace has a gap": """
        SELECT workspace_id FROM events WHERE workspace_id IS NOT NULL
        GROUP BY 1 HAVING min(workspace_seq) <> 1 OR max(workspace_seq) <> count(*)""",
    "an event follows the terminal one": """
        SELECT t.operation_id FROM events t JOIN events l USING (operation_id)
        WHERE t.terminal AND l.sequence > t.sequence""",
    "the terminal event does not say how the execution ended": """
        SELECT e.id FROM execution_processes e LEFT JOIN events t ON t.operation_id = e.id AND t.terminal
        WHERE (e.status IN ('completed', 'failed', 'killed')) <> (t.id IS NOT NULL)
          OR t.payload ->> 'status' <> e.status""",
    "the terminal event does not say that the operation is over": """
        SELECT o.id FROM operations o LEFT JOIN events t ON t.operation_id = o.id AND t.terminal
        WHERE (o.completed_at IS NOT NULL) <> (t.id IS NOT NULL)""",
}
"""Queries for events of which something is wrong, by what that is."""


def problems(db: Database) -> list[tuple[str, list[Any]]]:
    with db.connect() as connection:
        found = [(name, list(connection.scalars(text(query)))) for name, query in PROBLEMS.items()]
    return [(name, ids) for name, ids in found if ids]


class Reader:
    """Follows all events, and those of each workspace, with cursors that only go forward and pages of a few events."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cursor = 0
        self._cursors: dict[Any, int] = {}
        self.seen: list[int] = []
        self.seen_of_workspaces: list[tuple[Any, int]] = []

    def look(self) -> bool:
        """Read one page of each; return whether there was an event."""
        page = global_events.page(self._db, self._cursor, limit=7)
        self._cursor = page.cursor
        self.seen += [event.position or 0 for event in page.events]
        more = bool(page.events)
        with self._db.connect() as connection:
            for id_ in connection.scalars(select(Workspace.id)).all():
                rows = events.of_workspace(connection, id_, self._cursors.get(id_, 0), 3)
                if rows:
                    self._cursors[id_] = rows[-1].cursor
                    self.seen_of_workspaces += [(id_, row.cursor) for row in rows]
                    more = True
        return more


@pytest.mark.parametrize("seed", range(2))
def test_after_each_of_many_acts_the_log_has_no_gap_and_one_end_of_each_operation(db: Database, seed: int) -> None:
    for _ in range(2):
        submit(db, *REPOS)
    acts = Acts(db, 100 + seed)
    done = []
    for _ in range(100):
        done.append(acts.one())
        assert problems(db) == [], done
    acts.drain()
    assert problems(db) == []


def test_a_reader_beside_writers_gets_each_event_once_and_in_order(db: Database) -> None:
    for _ in range(3):
        submit(db, *REPOS)
    over = threading.Event()
    reader = Reader(db)

    def work(seed: int) -> None:
        acts = Acts(db, 200 + seed)
        for _ in range(20):
            acts.one()

    def read() -> None:
        while True:
            last = over.is_set()
            if not reader.look() and last:
                return

    with ThreadPoolExecutor(6) as pool:
        following = pool.submit(read)
        try:
            list(pool.map(work, range(5)))
        finally:
            over.set()
        following.result()
    with db.connect() as connection:
        rows = connection.execute(select(Event.position, Event.workspace_id, Event.workspace_seq)).all()
    assert reader.seen == sorted(row.position for row in rows)
    assert sorted(reader.seen_of_workspaces) == sorted(
        (row.workspace_id, row.workspace_seq) for row in rows if row.workspace_id is not None
    )
    assert problems(db) == []
