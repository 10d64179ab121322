"""Errors that a real Postgres gives, judged by SQLSTATE; and a capture that waits through them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from relay_core.settings import Settings
from relay_core.store import database as database_module
from relay_core.store.database import make_database
from relay_core.store.outage import is_away, is_conflict, is_of_the_data, sqlstate
from relay_core.store.transaction import Database
from tests.support.log_fixtures import Bench, Owned, running_execution
from tests.support.published import Published
from tests.support.waiting import eventually


@pytest.fixture
def relay(database_url: str) -> Iterator[Database]:
    """An engine as Relay makes it."""
    database = Database(make_database(Settings(database_url=database_url)), Published())
    yield database
    database.dispose()


def _read_only(connection: Connection) -> None:
    connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(text("DELETE FROM idempotency_keys"))


def _statement_timeout(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 20"))
    connection.execute(text("SELECT pg_sleep(5)"))


def _terminated(connection: Connection) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def _raised(code: str) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'as Postgres says it' USING ERRCODE = '{code}'; END $$"))

    return act


@pytest.mark.parametrize(
    "act",
    [
        *(_read_only, _statement_timeout, _terminated),
        *map(_raised, ("53100", "53200", "53300", "40001", "40P01", "25P03", "55P03", "57P03", "58030", "08006")),
    ],
)
def test_trouble_of_postgres_is_an_outage_whatever_class_the_driver_gives_it(
    relay: Database, act: Callable[[Connection], None]
) -> None:
    with pytest.raises(DBAPIError) as caught, relay.begin() as connection:
        act(connection)
    assert is_away(caught.value), sqlstate(caught.value)
    assert is_conflict(caught.value) == (sqlstate(caught.value) or "").startswith("40")
    with relay.begin() as connection:  # and the next connection is a good one
        connection.execute(text("DELETE FROM idempotency_keys"))


@pytest.mark.parametrize("code", ["42703", "23505", "22P02", "54000", "XX000"])
def test_an_error_of_what_was_asked_is_no_outage(relay: Database, code: str) -> None:
    with pytest.raises(DBAPIError) as caught, relay.begin() as connection:
        _raised(code)(connection)
    assert not is_away(caught.value)
    assert is_of_the_data(caught.value) == (code[:2] in {"22", "23"})


def test_a_server_that_is_not_there_or_takes_no_connections_is_away(database_url: str) -> None:
    for url in (database_url + "_missing", "postgresql+psycopg2://relay@127.0.0.1:1/relay"):
        with pytest.raises(DBAPIError) as caught:
            create_engine(url).connect()
        assert is_away(caught.value)


@pytest.fixture
def bench(relay: Database, redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(relay, Settings(redis_url=redis_url), tmp_path)
    yield bench
    bench.close()


def _refuse_chunks(database: Database, code: str) -> None:
    """From now on Postgres answers every chunk with this SQLSTATE."""
    with database.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER refuse BEFORE INSERT ON log_chunks FOR EACH ROW EXECUTE FUNCTION refuse()")
        )


def _accept_chunks(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("DROP TRIGGER refuse ON log_chunks"))


@pytest.mark.parametrize("code", ["25006", "53100", "40P01", "XX000"])
def test_output_waits_until_postgres_takes_it_again_and_the_process_is_not_harmed(
    bench: Bench, database: Database, code: str
) -> None:
    owned: Owned = running_execution(database)
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    _refuse_chunks(database, code)
    run.write("stdout", b"written while Postgres takes nothing\n")
    eventually(lambda: bench.pump.store_wait_seconds > 0.5)
    assert capture.stopped_reason is None
    _accept_chunks(database)
    run.end()
    end = capture.finish(1)
    assert end.stopped_reason is None
    assert bench.stored(owned, "stdout") == b"written while Postgres takes nothing\n"


def test_a_server_that_has_become_read_only_is_left_for_a_new_connection(relay: Database) -> None:
    def pid(connection: Connection) -> int:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())

    with relay.connect() as connection:
        before = pid(connection)
    with pytest.raises(DBAPIError), relay.begin() as connection:
        _read_only(connection)
    with relay.connect() as connection:
        assert pid(connection) != before


def test_many_threads_get_their_turn_at_a_small_pool(database_url: str) -> None:
    """Waiting for a connection is an outage, too: nothing is known of what was asked."""
    small = make_database(Settings(database_url=database_url, database_pool_size=1))
    small.pool._timeout = 0.1  # type: ignore[attr-defined]
    held = [small.connect(), small.connect()]
    errors: list[Exception] = []

    def ask() -> None:
        try:
            small.connect()
        except Exception as error:  # noqa: BLE001 - judged below
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    for connection in held:
        connection.close()
    small.dispose()
    assert [is_away(error) for error in errors] == [True]


def test_a_pooled_connection_that_its_server_ended_is_replaced_before_it_is_used(
    relay: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relay.begin() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    monkeypatch.setattr(database_module, "TRUSTED_SECONDS", 0.0)
    with relay.begin() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) == pid, "its socket is silent"
    other = create_engine(relay.engine.url)
    with other.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    other.dispose()
    with relay.begin() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid
