"""Logs are kept by weeks, in partitions that are made ahead and dropped: on a real Postgres, whose clock decides.

The tests move logs into earlier weeks.
"""

import hashlib
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from relay_core.domain.retention import Cause
from relay_core.store.logs import compaction
from relay_core.store.logs.log_store import Append, AppendResult, LogStore
from relay_core.store.retention import log_retention, partitions
from relay_core.store.retention.partitions import LOG_CHUNKS, WEEK
from relay_core.store.schema.migrate import _config, upgrade
from relay_core.store.transaction import Database
from relay_workers.capture.writer import ChunkWriter
from relay_workers.maintenance import retention
from relay_workers.metrics import Metrics
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for
from tests.support.log_fixtures import Owned, append_one, close_log, running_execution
from tests.support.workspace_acts import newest, started, workspace

DATA = b"a line\nand another\n"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def monday(database: Database, weeks_ago: int) -> date:
    with database.connect() as connection:
        today = partitions.today(connection)
    return today - timedelta(days=today.weekday()) - weeks_ago * WEEK


def aged(database: Database, execution_id: str | UUID, weeks_ago: int, *, ended: bool = True) -> date:
    """Move a log, its start and its end some weeks back; return its week."""
    week = monday(database, weeks_ago)
    with database.begin() as connection:
        names = {one.name for one in partitions.live(connection, LOG_CHUNKS)}
        if f"log_chunks_{week:%Y_%m_%d}" not in names:
            partitions.make(connection, LOG_CHUNKS, week)
    in_week(database, execution_id, week)
    with database.begin() as connection:
        values = {"week": week, "id": str(execution_id)}
        at = "CAST(:week AS date) + interval '1 day'"
        moved = f"started_at = {at}" + (f", completed_at = {at}" if ended else "")
        connection.execute(text(f"UPDATE execution_processes SET {moved} WHERE id = :id"), values)
    return week


def in_week(database: Database, execution_id: str | UUID, week: date) -> None:
    """Move a log to a week whose partition is there."""
    with database.begin() as connection:
        values = {"week": week, "id": str(execution_id)}
        for table in ("log_streams", "log_chunks"):
            connection.execute(text(f"UPDATE {table} SET week = :week WHERE execution_id = :id"), values)


def logged(api: Api, worker: Worker) -> dict:
    """The turn of an agent that has ended, with a log."""
    made = started(api, worker)
    agent = newest(api, made, "coding_agent")
    claimed = worker.claim(agent["id"])
    worker.log(claimed, [("stdout", DATA), ("stderr", b"err\n")])
    worker.finish(claimed, log_ends=worker.log_ends(claimed))
    return {**made, "agent": agent["id"]}


def sweep(api: Api, **limits) -> None:
    with api.database.begin() as connection:
        connection.execute(text("DELETE FROM sweep_turns"))
    retention.sweep(api.database, api.settings.model_copy(update=limits), Metrics())


def weeks(database: Database) -> list[date]:
    with database.connect() as connection:
        return [one.starts for one in partitions.live(connection, LOG_CHUNKS)]


def test_the_bytes_of_an_old_log_are_removed_and_every_reader_is_told(api: Api, worker: Worker) -> None:
    old, new = logged(api, worker), logged(api, worker)
    week = aged(api.database, old["agent"], 6)
    sweep(api, log_retention_days=28)
    assert week not in weeks(api.database)
    path = f"/v1/executions/{old['agent']}"
    logs = api.get(path).json()["logs"]
    assert (logs["stdout"]["bytes"], logs["stdout"]["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert logs["all"]["removed_at"] is not None
    for options in (
        {"params": {"stream": "stdout"}},
        {"params": {"stream": "stdout"}, "headers": {"Range": "bytes=2-5"}},
        {"params": {"stream": "stdout", "follow": "true"}},
    ):
        answer = api.get(f"{path}/logs", **options)
        assert problem_of(answer)[:2] == (410, "log_removed")
        told = answer.json()["removed"]
        assert (told["stream"], told["start"], told["end"], told["cause"]) == ("stdout", 0, len(DATA), "age")
        assert told["removed_at"] == logs["stdout"]["removed_at"].replace("Z", "+00:00")
        assert told["sha256"] == logs["stdout"]["sha256"]
    assert problem_of(api.get(f"{path}/logs/stream"))[:2] == (410, "log_removed")
    assert problem_of(api.get(f"/v1/runs/{old['run_id']}/logs", params={"markers": "false"}))[0] == 410
    shown = api.get(f"/v1/runs/{old['run_id']}/logs").text
    assert "--- coding_agent\n(23 bytes were removed at 2" in shown
    assert api.get(f"/v1/executions/{new['agent']}/logs", params={"stream": "stdout"}).content == DATA
    assert api.get(f"/v1/executions/{new['agent']}").json()["logs"]["all"].get("removed_at") is None


def test_a_log_that_is_needed_keeps_its_week(api: Api, worker: Worker) -> None:
    pinned, late, old = logged(api, worker), logged(api, worker), logged(api, worker)
    workspace(api, pinned, pinned=True)
    kept = {aged(api.database, pinned["agent"], 10), aged(api.database, late["agent"], 9)}
    running = running_execution(api.database)
    kept.add(aged(api.database, running.id, 8, ended=False))
    gone = aged(api.database, old["agent"], 7)
    with api.database.begin() as connection:  # a dev server, say, that ended yesterday
        late_end = text("UPDATE execution_processes SET completed_at = now() - interval '1 day' WHERE id = :id")
        connection.execute(late_end, {"id": late["agent"]})
    sweep(api, log_retention_days=28)
    assert kept < set(weeks(api.database))
    assert gone not in weeks(api.database)
    append_one(LogStore(api.database), Append(running.id, running.fence, "stdout", 0, DATA))
    workspace(api, pinned, pinned=False)
    sweep(api, log_retention_bytes=1)
    assert {one for one in weeks(api.database) if one in kept} == {monday(api.database, 8)}, "the one that runs"
    assert LogStore(api.database).read(running.id, "stdout", 0, 100) == DATA


def test_logs_from_before_the_partitions_go_when_all_of_them_are_old(api: Api, worker: Worker) -> None:
    """They share one partition, whose bounds say nothing about their age."""
    first = date(1970, 1, 5)
    made = logged(api, worker)
    in_week(api.database, made["agent"], first)
    sweep(api, log_retention_days=28)
    assert first in weeks(api.database), "it ended today"
    sweep(api, log_retention_bytes=1)
    assert first in weeks(api.database), "it started in the present week"
    assert api.get(f"/v1/executions/{made['agent']}/logs", params={"stream": "stdout"}).content == DATA
    with api.database.begin() as connection:
        at = "now() - interval '60 days'"
        connection.execute(text(f"UPDATE execution_processes SET started_at = {at}, completed_at = {at}"))
    sweep(api, log_retention_days=28)
    assert first not in weeks(api.database)


def test_the_oldest_weeks_go_until_the_rest_fits(api: Api, worker: Worker) -> None:
    made = [logged(api, worker) for _ in range(3)]
    found = [aged(api.database, one["agent"], ago) for one, ago in zip(made, (9, 8, 7), strict=True)]
    with api.database.connect() as connection:
        sizes = {one.starts: one.size_bytes for one in partitions.live(connection, LOG_CHUNKS)}
    sweep(api, log_retention_bytes=sum(sizes.values()) - sizes[found[0]])
    left = weeks(api.database)
    assert [one in left for one in found] == [False, True, True]
    with api.database.connect() as connection:
        mark = text("SELECT cause, size_bytes FROM partition_marks WHERE starts = :week")
        assert connection.execute(mark, {"week": found[0]}).one() == (Cause.SIZE, sizes[found[0]])
    sweep(api)
    assert weeks(api.database) == left, "without limits everything stays"


def without_partition(database: Database) -> tuple[Owned, date]:
    """A running execution with an empty log in a week for which there is no partition; with the week."""
    later = monday(database, -3)
    with database.begin() as connection:
        connection.execute(text(f"DROP TABLE log_chunks_{later:%Y_%m_%d}"))
        connection.execute(text("DELETE FROM partition_marks WHERE starts = :week"), {"week": later})
    owned = running_execution(database)
    with database.begin() as connection:
        connection.execute(text("UPDATE log_streams SET week = :week"), {"week": later})
    return owned, later


def wait_for_waiter(database: Database, table: str) -> None:
    """Wait until a statement waits for its lock on a table."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)")
    with database.connect() as watching:
        while not watching.scalar(waits, {"table": table}):
            watching.rollback()


def test_an_append_that_meets_the_making_of_its_partition_is_tried_again(database: Database) -> None:
    store = LogStore(database)
    owned, later = without_partition(database)
    batch = [Append(owned.id, owned.fence, "stdout", 0, DATA)]
    given: queue.Queue[AppendResult] = queue.Queue()
    live = SimpleNamespace(publish=lambda stored: None)
    writer = ChunkWriter(store, live, given.put)
    writer.start()
    try:
        with database.begin() as connection:
            partitions.make(connection, LOG_CHUNKS, later)
            writer.put(batch)
            wait_for_waiter(database, "log_chunks_rest")
        assert [one.append for one in given.get(timeout=30).stored] == batch
    finally:
        writer.stop()
    assert store.read(owned.id, "stdout", 0, 100) == DATA


def test_the_making_of_a_partition_waits_for_an_append_to_the_default_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 60)
    owned, later = without_partition(database)

    def make() -> None:
        with database.begin() as connection:
            partitions.make(connection, LOG_CHUNKS, later)

    row = text(
        "INSERT INTO log_chunks (execution_id, week, stream, start_offset, all_offset, byte_length, codec, data) "
        "VALUES (:id, :week, 'stdout', 0, 0, 1, 0, 'x')"
    )
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as connection:
            connection.execute(row, {"id": owned.id, "week": later})
            making = pool.submit(make)
            wait_for_waiter(database, "log_chunks_rest")
        making.result(30)
    with database.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM log_chunks_{later:%Y_%m_%d}")) == 1


def test_partitions_are_made_ahead_and_take_what_came_before_them(api: Api, worker: Worker) -> None:
    """An insert without a partition is stored all the same; the sweep makes the partition for it."""
    database, store = api.database, LogStore(api.database)
    owned, later = without_partition(database)
    append_one(store, Append(owned.id, owned.fence, "stdout", 0, DATA))
    assert store.read(owned.id, "stdout", 0, 100) == DATA
    sweep(api)
    assert later in weeks(database)
    with database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM log_chunks_rest")) == 0
        assert connection.scalar(text(f"SELECT count(*) FROM log_chunks_{later:%Y_%m_%d}")) == 1
    append_one(store, Append(owned.id, owned.fence, "stdout", len(DATA), b"more"))
    assert store.read(owned.id, "stdout", 0, 100) == DATA + b"more"
    with database.begin() as connection, pytest.raises(DBAPIError, match="duplicate key"):
        connection.execute(text("INSERT INTO log_chunks SELECT * FROM log_chunks"))


def test_a_workspace_that_is_pinned_during_the_look_keeps_its_logs(
    api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = logged(api, worker)
    week = aged(api.database, pinned["agent"], 6)
    look = log_retention.due

    def look_then_pin(*args) -> list:
        found = look(*args)
        workspace(api, pinned, pinned=True)
        return found

    monkeypatch.setattr(log_retention, "due", look_then_pin)
    sweep(api, log_retention_days=28)
    assert week in weeks(api.database)
    assert api.get(f"/v1/executions/{pinned['agent']}/logs", params={"stream": "stdout"}).content == DATA


def test_a_table_in_use_is_left_for_later(api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 1)
    old = logged(api, worker)
    week = aged(api.database, old["agent"], 6)
    with api.database.connect() as reading:
        reading.execute(text("SELECT count(*) FROM log_chunks"))
        sweep(api, log_retention_days=28)
        assert week in weeks(api.database)
        assert api.get(f"/v1/executions/{old['agent']}/logs", params={"stream": "stdout"}).content == DATA
    with api.database.begin() as connection:
        connection.execute(text("UPDATE sweep_turns SET taken_at = taken_at - interval '61 seconds'"))
    retention.sweep(api.database, api.settings.model_copy(update={"log_retention_days": 28}), Metrics())
    assert week not in weeks(api.database)


def test_logs_of_an_older_schema_stay_readable_and_go_on(database: Database, database_url: str) -> None:
    store = LogStore(database)
    ended, running = running_execution(database), running_execution(database)
    for owned in (ended, running):
        for at in range(0, len(DATA), 4):
            append_one(store, Append(owned.id, owned.fence, "stdout", at, DATA[at : at + 4]))
    close_log(database, ended)
    with database.begin() as connection:
        command.downgrade(_config(connection), "0067")
    assert upgrade(database_url) >= "0068"
    store = LogStore(database)
    append_one(store, Append(running.id, running.fence, "stdout", len(DATA), b"more"))
    with database.begin() as connection:
        before = "SELECT count(*) FROM log_chunks_before WHERE execution_id = :id"
        assert connection.scalar(text(before), {"id": running.id}) == 6, "a log stays in one partition"
        assert compaction.compact_one(connection) is not None
    assert store.read(ended.id, "stdout", 0, 100) == DATA
    assert store.read(running.id, "stdout", 3, 100) == DATA[3:] + b"more"


def strayed(database: Database, execution_id: str | UUID, week: str, where: str = "true") -> None:
    """Move rows of a log to a week, as if a worker of the version before the weeks had stored them in it."""
    with database.begin() as connection:
        moved = f"UPDATE log_chunks SET week = {week} WHERE execution_id = :id AND {where}"
        assert connection.execute(text(moved), {"id": str(execution_id)}).rowcount


@pytest.mark.parametrize("where", ["start_offset >= 8", "start_offset BETWEEN 4 AND 11", "true"])
def test_bytes_that_an_older_worker_stored_in_another_week_are_read_and_gathered(
    database: Database, where: str
) -> None:
    owned, writer = running_execution(database), LogStore(database)
    for at in range(0, len(DATA), 4):
        append_one(writer, Append(owned.id, owned.fence, "stdout", at, DATA[at : at + 4]))
    in_week(database, owned.id, date(1970, 1, 5))
    strayed(database, owned.id, "DEFAULT", where)
    store = LogStore(database)

    def check() -> None:
        for stream in ("stdout", "all"):
            for start in range(len(DATA) + 1):
                assert store.read(owned.id, stream, start, 100) == DATA[start:]
        assert b"".join(piece.data for piece in store.iter_pieces(owned.id, "all")) == DATA

    check()
    close_log(database, owned)
    with database.begin() as connection:
        assert compaction.compact_one(connection) is not None
        strays = text("SELECT count(*) FROM log_chunks WHERE week > '1970-01-05'")
        assert connection.scalar(strays) == 0
    check()


def test_a_week_is_dropped_without_the_bytes_of_a_log_of_an_earlier_week(api: Api, worker: Worker) -> None:
    pinned, old = logged(api, worker), logged(api, worker)
    workspace(api, pinned, pinned=True)
    aged(api.database, pinned["agent"], 10)
    week = aged(api.database, old["agent"], 6)
    strayed(api.database, pinned["agent"], f"DATE '{week}'", "stream = 'stdout'")
    sweep(api, log_retention_days=28)
    assert week not in weeks(api.database)
    assert api.get(f"/v1/executions/{pinned['agent']}/logs", params={"stream": "stdout"}).content == DATA
