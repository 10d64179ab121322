"""The log pump while Postgres is away, connections break, and reading fails; the test is relay-pid1."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import Reason
from relay_core.store.transaction import Database
from relay_workers.capture import pump
from relay_workers.capture.stream import CapturedStream
from tests.support.capture_checks import MIB, TAIL, check_end, finish_later
from tests.support.hanging_disk import hanging, stopped_disk
from tests.support.log_fixtures import Bench, Owned, Run, cut_connections, running_execution
from tests.support.waiting import eventually


def test_cut_connections_lose_and_double_nothing(
    bench: Bench, database: Database, database_url: str, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    chance = random.Random(9)
    written = bytearray()
    for _ in range(15):
        data = chance.randbytes(chance.randrange(MIB))
        run.write("stdout", data)
        written += data
        cut_connections(database, database_url)
    run.end()
    check_end(bench, owned, capture.finish(TAIL), {"stdout": bytes(written), "stderr": b""})


def test_during_an_outage_the_pump_listens_waits_and_then_goes_on(
    bench: Bench, owned: Owned, outage: threading.Event
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"before")
    eventually(lambda: bench.sizes(owned)["stdout"] == 6)
    outage.set()
    data = random.Random(4).randbytes(20 * MIB)
    memory = psutil.Process().memory_info().rss
    run.write("stderr", data)
    run.exit()
    assert capture.exited.wait(5), "a dead Postgres must not make the pump deaf"
    run.die()
    assert capture.over.wait(5)
    thread, ends = finish_later(capture)
    thread.join(0.7)
    assert not ends
    assert psutil.Process().memory_info().rss - memory < 16 * MIB
    assert capture.last_output > time.monotonic() - 0.5, "a log that waits in its file is no silence"
    outage.clear()
    thread.join(20)
    check_end(bench, owned, ends[0], {"stdout": b"before", "stderr": data})


def test_commits_that_a_crash_of_postgres_took_back_are_stored_again(
    bench: Bench, database: Database, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run, log_bytes=3000)
    run.begin()
    run.write("stdout", b"a" * 1000)
    eventually(lambda: bench.sizes(owned)["all"] == 1000)
    run.write("stdout", b"b" * 1000)
    run.write("stderr", b"c" * 500)
    eventually(lambda: bench.sizes(owned)["all"] == 2500)
    with database.begin() as connection:  # as if the last commits had never been written to disk
        connection.execute(text("DELETE FROM log_chunks WHERE all_offset >= 1000"))
        connection.execute(text("UPDATE log_streams SET bytes = CASE stream WHEN 'stderr' THEN 0 ELSE 1000 END"))
    run.write("stdout", b"d" * 5000)
    run.end()
    end = capture.finish(TAIL)
    assert end.streams["all"].bytes == 3000
    assert end.stopped_reason is Reason.LOG_LIMIT
    stdout = bench.stored(owned, "stdout")
    check_end(bench, owned, end, {"stdout": stdout, "stderr": bench.stored(owned, "stderr")})
    assert run.raw("stdout").startswith(stdout)


def test_commits_taken_back_after_the_last_chunk_are_noticed_at_the_end(
    bench: Bench, database: Database, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"abc")
    eventually(lambda: bench.sizes(owned)["all"] == 3)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM log_chunks"))
        connection.execute(text("UPDATE log_streams SET bytes = 0"))
    run.end()
    check_end(bench, owned, capture.finish(TAIL), {"stdout": b"abc", "stderr": b""})


def test_a_fault_in_one_run_does_not_stop_the_others(bench: Bench, database: Database, owned: Owned) -> None:
    other = running_execution(database)
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO log_chunks (execution_id, stream, start_offset, all_offset, byte_length, codec, data) "
                "VALUES (:id, 'stdout', 0, 0, 1, 0, 'x')"
            ),
            {"id": owned.id},
        )
    bad, good = bench.run(), bench.run()
    bad.write("stdout", b"collides")
    good.write("stdout", b"fine")
    captures = [bench.attach(owned, bad), bench.attach(other, good)]
    eventually(lambda: bench.sizes(other)["stdout"] == 4)
    eventually(lambda: captures[0].stopped_reason is Reason.INTERNAL_ERROR)


def test_a_worker_that_goes_away_ends_a_finish_that_waits(bench: Bench, owned: Owned, outage: threading.Event) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    outage.set()
    run.write("stdout", b"kept in the file")
    run.end()
    thread, ends = finish_later(capture)
    thread.join(0.3)
    assert not ends
    bench.pump.stop()
    thread.join(10)
    assert isinstance(ends[0], Stale)


def test_a_run_that_is_taken_away_ends_a_finish_that_waits(bench: Bench, owned: Owned, outage: threading.Event) -> None:
    run = bench.run()
    lost = threading.Event()
    capture = bench.attach(owned, run, lost=lost)
    run.begin()
    outage.set()
    run.write("stdout", b"kept in the file")
    run.end()
    thread, ends = finish_later(capture)
    lost.set()
    capture._request.wake.set()
    thread.join(10)
    assert isinstance(ends[0], Stale)


def test_a_fault_in_the_middle_of_a_batch_loses_and_holds_up_nothing(
    bench: Bench, database: Database, owned: Owned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when memory runs out after bytes were read, with the batch of another run half made."""
    other = running_execution(database)
    broken, whole = bench.run(), bench.run()
    faults = 3
    take = CapturedStream.take

    def takes(stream: CapturedStream, end: int, *, whole_lines: bool) -> bytes:
        nonlocal faults
        data = take(stream, end, whole_lines=whole_lines)
        if data.startswith(b"broken") and faults:
            faults -= 1
            raise MemoryError
        return data

    monkeypatch.setattr(CapturedStream, "take", takes)
    captures = [bench.attach(other, whole), bench.attach(owned, broken)]
    for run in (whole, broken):
        run.begin()
    whole.write("stdout", b"whole\n" * 100)
    broken.write("stderr", b"before\n")
    broken.write("stdout", b"broken\n" * 100)
    for run in (whole, broken):
        run.end()
    ends = [capture.finish(5) for capture in captures]
    assert faults == 0
    check_end(bench, other, ends[0], {"stdout": b"whole\n" * 100, "stderr": b""})
    check_end(bench, owned, ends[1], {"stdout": b"broken\n" * 100, "stderr": b"before\n"})
    assert ends[1].stopped_reason is None


def test_a_dead_thread_of_the_pump_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not bench.pump.is_dead
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(bench.pump, "_run_calls", _exits)
    bench.pump._watcher.wake()
    eventually(lambda: bench.pump.is_dead)
    monkeypatch.undo()
    bench.pump.stop()
    assert not bench.pump.is_dead, "one that was told to stop is not"


def _exits() -> None:
    raise SystemExit


def test_a_disk_that_hangs_during_the_tail_leaves_a_whole_tail_after_its_answer(
    bench: Bench, owned: Owned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk answers before the tail is over; relay-pid1 writes the rest after the time that was left then."""
    tail, hung = 2.5, 0.3
    monkeypatch.setattr(pump, "HUNG_SECONDS", hung)
    with stopped_disk(tmp_path / "disk") as disk, ThreadPoolExecutor() as runner:
        run = Run(disk.directory)
        capture = bench.attach(owned, run)
        run.begin()
        run.exit()
        assert capture.exited.wait(10)
        over_at = time.monotonic() + tail
        end = runner.submit(capture.finish, tail)
        with hanging(disk):
            eventually(lambda: bench.pump.age_seconds > pump.SCAN_SECONDS + 2 * hung, "a look at the files hangs")
        assert time.monotonic() < over_at
        eventually(lambda: time.monotonic() > over_at + hung, "the tail would be over")
        run.write("stdout", b"the rest")
        run.end()
        check_end(bench, owned, end.result(10), {"stdout": b"the rest", "stderr": b""})
