"""The events of all workspaces in one order: no reader misses one, and a restored database goes on with it."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from relay_core.store import events, global_events
from relay_core.store.schema import migrate
from relay_core.store.transaction import Database
from relay_stack.services.postgres import EmbeddedPostgres, installed_folder
from tests.support.published import Published
from tests.support.store_acts import ME, submit


def test_the_cursor_of_a_reader_passes_what_is_not_shown_to_it(db):
    workspace_id = submit(db).workspace_id
    owner = ME.owner

    def looks(cursor: int, who: str) -> global_events.GlobalPage:
        return global_events.page(db, cursor, created_by=who)

    foreign = looks(0, "another owner")
    assert (foreign.events, foreign.cursor > 0) == ([], True)
    mine = looks(0, owner)
    assert foreign.cursor == mine.cursor == mine.events[-1].position, "the same place, though nothing was shown"
    other = submit(db).workspace_id
    here = looks(0, owner).cursor
    with db.engine.begin() as open_early:
        events.append(open_early, other, "test", {"open": "early"})
        with db.begin() as connection:
            events.append(connection, workspace_id, "test", {"open": "late"})
        (at_once,) = looks(here, owner).events
    (later,) = looks(at_once.position, owner).events
    assert [event.payload["open"] for event in (at_once, later)] == ["late", "early"], (
        "an open transaction holds up none"
    )


@pytest.mark.parametrize("scope", ["workspace", "global"])
def test_a_cursor_misses_no_event_that_was_committed_late(db, scope):
    """Writers on several connections, some holding their transaction open; a reader that only goes forward."""
    workspace_rows = [submit(db).workspace_id for _ in range(3)]
    writers, each, done = 6, 25, threading.Event()

    def write(number: int) -> None:
        for turn in range(each):
            with db.begin() as connection:
                connection.execute(text("SELECT pg_current_xact_id()"))  # the id is taken early …
                connection.execute(text("SELECT pg_sleep(:s)"), {"s": ((number * 7 + turn) % 5) / 1000})
                events.append(connection, workspace_rows[number % 3], "test", {"writer": number, "turn": turn})
                connection.execute(text("SELECT pg_sleep(:s)"), {"s": ((number + turn) % 3) / 1000})  # … committed late

    seen: list[tuple[int, int]] = []

    def read() -> None:
        cursors, cursor = dict.fromkeys(workspace_rows, 0), 0
        while True:
            last_round = done.is_set()
            if scope == "global":
                rows, cursor = global_events.page(db, cursor)
            else:
                rows = []
                for workspace_id in workspace_rows:
                    with db.connect() as connection:
                        page = events.of_workspace(connection, workspace_id, cursors[workspace_id])
                    cursors[workspace_id] = page[-1].cursor if page else cursors[workspace_id]
                    rows += page
            seen.extend((row.payload["writer"], row.payload["turn"]) for row in rows if row.kind == "test")
            if last_round and not rows:
                return

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    done.set()
    reader.join()
    assert sorted(seen) == [(number, turn) for number in range(writers) for turn in range(each)]


def test_readers_beside_each_other_give_no_position_twice(db: Database) -> None:
    workspaces = [submit(db).workspace_id for _ in range(4)]

    def act(number: int) -> list[int]:
        if number % 2:
            with db.begin() as connection:
                events.append(connection, workspaces[number % 4], "test", {})
        global_events.give_positions(db)
        return []

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(act, range(60)))
    found = global_events.page(db, 0)
    assert [event.position for event in found.events] == list(range(1, len(found.events) + 1))
    assert found.cursor == len(found.events)


def test_a_server_without_writes_shows_the_events_that_have_a_position(db: Database, database_url: str) -> None:
    submit(db)
    known = global_events.page(db, 0)
    submit(db)
    reader = Database(
        create_engine(database_url, connect_args={"options": "-c default_transaction_read_only=on"}), Published()
    )
    assert global_events.page(reader, 0) == known
    reader.dispose()
    assert global_events.page(db, known.cursor).events


def test_a_cursor_is_good_after_a_dump_and_a_restore_into_another_server(
    db: Database, database_url: str, tmp_path: Path, services_dir: Path
) -> None:
    """Core fault 13: the new server's transactions have other ids; no event was shown there, and new ones came first."""
    submit(db)
    half = global_events.page(db, 0).cursor
    submit(db)
    behind = global_events.page(db, half).events
    dump = tmp_path / "dump"
    subprocess.run([*_tool("pg_dump", database_url), "-Fc", "-f", dump], check=True)
    other = EmbeddedPostgres(services_dir / f"postgres-restored-{os.getpid()}")
    try:
        url = other.start()
        subprocess.run([*_tool("pg_restore", url), "--no-owner", dump], check=True)
        restored = Database(create_engine(url), Published())
        assert global_events.page(restored, half).events == behind
        here = global_events.newest(restored)
        submit(restored)
        assert min(event.position or 0 for event in global_events.page(restored, here).events) == here + 1
        restored.dispose()
    finally:
        other.stop()


def test_events_of_an_earlier_version_keep_their_order(db: Database, database_url: str) -> None:
    """The migration down and up: by transaction, then by id; a cursor of that version leads to the same event.

    That version has no events but those of workspaces.
    """
    submit(db)
    submit(db)
    before = [event for event in global_events.page(db, 0).events if event.workspace_id is not None]
    with create_engine(database_url).connect() as connection:
        config = migrate._config(connection)
        command.downgrade(config, "0015")
        command.upgrade(config, "head")
        connection.commit()
    after = global_events.page(db, 0).events
    assert [(event.workspace_id, event.cursor) for event in after] == [
        (event.workspace_id, event.cursor) for event in before
    ]
    with db.connect() as connection:
        newest = connection.scalar(text("SELECT max(id) FROM events"))
    assert global_events.position_of(db, newest) == len(after)
    assert global_events.position_of(db, 0) == 0


def _tool(name: str, url: str) -> list[str | Path]:
    """The command line of a tool of Postgres that connects to a database."""
    from_url = make_url(url)
    return [
        installed_folder() / "bin" / name,
        "-d",
        from_url.set(drivername="postgresql").render_as_string(hide_password=False),
    ]
