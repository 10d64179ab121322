"""The pump on real files, a real Postgres and a real Valkey; the test is the supervisor."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, text

from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.settings import Settings
from relay_core.store.logs import log_store
from relay_core.store.logs.log_store import LogStore
from relay_workers.capture.pump import CaptureEnd, CaptureHandle
from relay_workers.capture.reader import CaptureState
from relay_workers.capture.stream import CapturedStream
from relay_workers.execution.step_log import stored_ends
from relay_workers.host_files.safe_dir import TamperedFile
from tests.support.log_fixtures import (
    WAIT_SECONDS,
    Bench,
    Owned,
    Run,
    cut_connections,
    running_execution,
    taken_over,
)
from tests.support.waiting import eventually

MIB = 1 << 20
TAIL = 0.3


@pytest.fixture
def bench(database: Engine, redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(database, Settings(redis_url=redis_url), tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def owned(database: Engine) -> Owned:
    return running_execution(database)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check(bench: Bench, owned: Owned, end: CaptureEnd, expected: dict[str, bytes]) -> None:
    """The end, the stored bytes and the three digests agree with what was written."""
    for stream, data in expected.items():
        assert bench.stored(owned, stream) == data
        assert (end.streams[stream].bytes, end.streams[stream].sha256) == (len(data), _sha256(data))
    merged = bench.stored(owned, Stream.ALL)
    info = end.streams[Stream.ALL]
    assert (info.bytes, info.sha256) == (len(merged), _sha256(merged))
    pieces: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    for piece in bench.store.iter_pieces(owned.id, Stream.ALL):
        pieces[piece.stream] += piece.data
    assert pieces == {stream: expected.get(stream, b"") for stream in pieces}


def _finish_later(capture: CaptureHandle, tail: float = TAIL) -> tuple[threading.Thread, list[object]]:
    ends: list[object] = []

    def body() -> None:
        try:
            ends.append(capture.finish(tail))
        except Stale as error:
            ends.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, ends


def test_64_mib_of_binary_on_both_streams_are_stored_byte_for_byte(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    chance = random.Random(3)
    expected = {"stdout": b"", "stderr": b""}
    parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    written = 0
    while written < 64 * MIB:
        stream = chance.choice(("stdout", "stderr"))
        data = chance.randbytes(chance.choice((1, 100, 5_000, 3 * MIB)))
        run.write(stream, data)
        parts[stream].append(data)
        written += len(data)
    run.end()
    end = capture.finish(TAIL)
    expected = {stream: b"".join(data) for stream, data in parts.items()}
    assert not end.cut
    assert end.stopped_reason is None
    assert not end.streams["all"].truncated
    _check(bench, owned, end, expected)


def test_what_a_supervisor_says_arrives_and_wakes_the_runner(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    wake = capture._request.wake
    assert not capture.started.wait(0.1)
    assert not capture.supervisor_dead.is_set()
    wake.clear()
    run.begin()
    assert capture.started.wait(5)
    assert wake.wait(5)
    assert not capture.exited.is_set()
    run.exit()
    assert capture.exited.wait(5)
    assert not capture.supervisor_dead.wait(0.1)
    wake.clear()
    run.die()
    assert capture.supervisor_dead.wait(5)
    assert wake.wait(5)


def test_a_supervisor_that_dies_before_its_first_word_is_dead(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    os.close(os.open(run.folder / "alive", os.O_RDWR))
    assert capture.supervisor_dead.wait(5)
    assert not capture.started.is_set()


def test_an_adopter_of_a_dead_supervisor_learns_it_at_once(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    run.begin()
    run.write("stdout", b"last words")
    run.end()
    capture = bench.attach(owned, run, started=True)
    assert capture.supervisor_dead.wait(5)
    _check(bench, owned, capture.finish(TAIL), {"stdout": b"last words", "stderr": b""})


def test_secrets_are_masked_in_place_wherever_the_chunks_are_cut(bench: Bench, owned: Owned) -> None:
    secret = b"s3cr3t-value-of-the-client"
    run = bench.run()
    capture = bench.attach(owned, run, [secret])
    run.begin()
    text_ = (b"before " + secret + b" after\n") * 50
    for at in range(0, len(text_), 11):
        run.write("stdout", text_[at : at + 11])
        if at % 110 == 0:
            eventually(lambda: bench.sizes(owned)["stdout"] >= at + 1 - len(secret))  # noqa: B023
    run.write("stderr", b"only the beginning of it: " + secret[:-1])
    run.end()
    end = capture.finish(TAIL)
    masked = text_.replace(secret, b"*" * len(secret))
    _check(bench, owned, end, {"stdout": masked, "stderr": b"only the beginning of it: " + secret[:-1]})


def test_a_new_worker_goes_on_where_the_stored_log_ends(bench: Bench, database: Engine, owned: Owned) -> None:
    secret = b"a secret on the seam"
    chance = random.Random(5)
    run = bench.run()
    run.begin()
    bench.attach(owned, run, [secret])
    expected = {"stdout": bytearray(), "stderr": bytearray()}
    for worker in range(3):
        for _ in range(40):
            stream = chance.choice(("stdout", "stderr"))
            data = chance.choice((chance.randbytes(chance.randrange(200_000)), secret))
            run.write(stream, data)
            expected[stream] += data
        half = secret[: 5 + worker * 4]
        run.write("stdout", half)
        eventually(lambda owned=owned: bench.sizes(owned)["all"] > 0)
        bench.new_worker()
        owned = taken_over(database, owned)
        capture = bench.attach(owned, run, [secret], started=True)
        rest = secret[5 + worker * 4 :]
        run.write("stdout", rest)
        expected["stdout"] += secret
    run.end()
    end = capture.finish(TAIL)
    masked = {name: bytes(data).replace(secret, b"*" * len(secret)) for name, data in expected.items()}
    _check(bench, owned, end, masked)


def test_the_log_of_another_owner_is_left_alone(bench: Bench, database: Engine, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"mine")
    eventually(lambda: bench.sizes(owned)["all"] == 4)
    taken_over(database, owned)
    run.write("stdout", b"theirs")
    eventually(lambda: capture.stale)
    with pytest.raises(Stale):
        capture.finish(0)
    assert bench.stored(owned, "stdout") == b"mine"


def test_stored_bytes_stop_exactly_at_the_cap(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run, log_bytes=100_000)
    run.begin()
    run.write("stderr", b"e" * 1000)
    eventually(lambda: bench.sizes(owned)["stderr"] == 1000)
    run.write("stdout", b"o" * 500_000)
    eventually(lambda: capture.stopped_reason is Reason.LOG_LIMIT)
    run.end()
    end = capture.finish(TAIL)
    assert end.stopped_reason is Reason.LOG_LIMIT
    assert [end.streams[name].truncated for name in ("stdout", "stderr", "all")] == [True, False, True]
    _check(bench, owned, end, {"stdout": b"o" * 99_000, "stderr": b"e" * 1000})


def test_a_log_of_exactly_the_cap_is_whole(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run, log_bytes=1000)
    run.begin()
    run.write("stdout", b"o" * 1000)
    run.end()
    end = capture.finish(TAIL)
    assert end.stopped_reason is None
    assert not end.streams["all"].truncated


def _cut_short(run: Run) -> None:
    os.truncate(run.folder / "stdout", 2)


def _swap(run: Run) -> None:
    other = run.folder / "other"
    other.write_bytes(b"forged, and longer than before")
    other.rename(run.folder / "stdout")


def _move_away(run: Run) -> None:
    (run.folder / "stdout").rename(run.folder / "elsewhere")


def _link_elsewhere(run: Run) -> None:
    os.link(run.folder / "stdout", run.folder / "second-name")


@pytest.mark.parametrize("tamper", [_cut_short, _swap, _move_away, _link_elsewhere])
def test_a_log_that_is_not_what_it_was_ends_the_run(bench: Bench, owned: Owned, tamper) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"honest")
    eventually(lambda: bench.sizes(owned)["stdout"] == 6)
    tamper(run)
    eventually(lambda: capture.stopped_reason is Reason.LOG_TAMPERED)
    run.end()
    end = capture.finish(TAIL)
    assert end.stopped_reason is Reason.LOG_TAMPERED
    assert end.streams["stdout"].truncated
    assert bench.stored(owned, "stdout") == b"honest"


def test_a_log_shorter_than_what_is_stored_is_not_adopted(bench: Bench, database: Engine, owned: Owned) -> None:
    run = bench.run()
    bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"honest")
    eventually(lambda: bench.sizes(owned)["stdout"] == 6)
    bench.new_worker()
    os.truncate(run.folder / "stdout", 3)
    before = psutil.Process().num_fds()
    with pytest.raises(TamperedFile):
        bench.attach(taken_over(database, owned), run, [b"a secret value"])
    assert psutil.Process().num_fds() == before


@pytest.mark.alone
def test_a_background_process_that_holds_the_log_is_cut_and_said(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"the step's own")
    run.exit()
    assert capture.exited.wait(5)
    began = time.monotonic()
    end = capture.finish(TAIL)
    assert time.monotonic() - began < TAIL + 2
    assert end.cut
    run.write("stdout", b", and what comes later")
    _check(bench, owned, end, {"stdout": b"the step's own", "stderr": b""})


def test_lines_stay_whole_in_all_when_both_streams_flood(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    lines = {name: b"".join(b"%s line %d\n" % (name.encode(), n) for n in range(200_000)) for name in run.files}
    for name, data in lines.items():
        run.write(name, data)
    run.begin()
    capture = bench.attach(owned, run)
    run.end()
    end = capture.finish(TAIL)
    _check(bench, owned, end, lines)
    merged = bench.stored(owned, Stream.ALL).splitlines()
    assert sorted(merged) == sorted((lines["stdout"] + lines["stderr"]).splitlines())


def test_a_line_written_in_pieces_is_not_cut_by_the_other_stream(
    bench: Bench, owned: Owned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell with `set -x` writes it: `+ echo`, then ` line1`, and what the command itself prints meanwhile."""
    monkeypatch.setattr("relay_workers.capture.stream.LINE_SECONDS", 60.0)
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"begin\n")
    eventually(lambda: bench.stored(owned, "stdout") == b"begin\n")  # from now on both streams are in use
    for number in range(12):
        run.write("stderr", b"+ echo")
        run.write("stdout", b"line%d\n" % number)
        eventually(lambda: b"line%d\n" % number in bench.stored(owned, "stdout"))  # noqa: B023
        run.write("stderr", b" line%d\n" % number)
    eventually(lambda: bench.stored(owned, "stderr").endswith(b" line11\n"))
    monkeypatch.undo()
    run.write("stdout", b"a prompt? ")
    eventually(lambda: bench.stored(owned, "stdout").endswith(b"a prompt? "), seconds=5)
    run.write("stderr", b"x" * 5000)
    run.write("stdout", b"and no end")
    run.end()
    end = capture.finish(TAIL)
    expected = {
        "stdout": b"begin\n" + b"".join(b"line%d\n" % number for number in range(12)) + b"a prompt? and no end",
        "stderr": b"".join(b"+ echo line%d\n" % number for number in range(12)) + b"x" * 5000,
    }
    _check(bench, owned, end, expected)
    lines = bench.stored(owned, Stream.ALL).split(b"\n")
    assert sum(line.startswith(b"+ echo line") for line in lines) == 12


def test_a_run_with_both_hands_full_does_not_starve_another(bench: Bench, database: Engine, owned: Owned) -> None:
    flood, quiet = bench.run(), bench.run()
    flood.write("stdout", random.Random(1).randbytes(32 * MIB))
    other = running_execution(database)
    bench.attach(owned, flood)
    bench.attach(other, quiet)
    quiet.write("stdout", b"hello")
    eventually(lambda: bench.sizes(other)["stdout"] == 5)
    assert bench.sizes(owned)["stdout"] < 32 * MIB


def test_cut_connections_lose_and_double_nothing(
    bench: Bench, database: Engine, database_url: str, owned: Owned
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
    _check(bench, owned, capture.finish(TAIL), {"stdout": bytes(written), "stderr": b""})


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
    assert capture.supervisor_dead.wait(5)
    thread, ends = _finish_later(capture)
    thread.join(0.7)
    assert not ends
    assert psutil.Process().memory_info().rss - memory < 16 * MIB
    assert capture.last_output > time.monotonic() - 0.5, "a log that waits in its file is no silence"
    outage.clear()
    thread.join(20)
    _check(bench, owned, ends[0], {"stdout": b"before", "stderr": data})


def test_commits_that_a_crash_of_postgres_took_back_are_stored_again(
    bench: Bench, database: Engine, owned: Owned
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
    _check(bench, owned, end, {"stdout": stdout, "stderr": bench.stored(owned, "stderr")})
    assert run.raw("stdout").startswith(stdout)


def test_commits_taken_back_after_the_last_chunk_are_noticed_at_the_end(
    bench: Bench, database: Engine, owned: Owned
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
    _check(bench, owned, capture.finish(TAIL), {"stdout": b"abc", "stderr": b""})


def test_a_fault_in_one_run_does_not_stop_the_others(bench: Bench, database: Engine, owned: Owned) -> None:
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
    thread, ends = _finish_later(capture)
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
    thread, ends = _finish_later(capture)
    lost.set()
    capture._request.wake.set()
    thread.join(10)
    assert isinstance(ends[0], Stale)


def test_a_run_left_with_batches_on_their_way_is_closed_with_the_sum_of_what_is_stored(
    bench: Bench, database: Engine, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    with database.connect() as blocking:  # the first batch waits in Postgres for this lock, the next one behind it
        blocking.execute(text("SELECT 1 FROM log_streams WHERE execution_id = :id FOR UPDATE"), {"id": owned.id})
        run.write("stdout", b"first\n")
        eventually(lambda: capture.reader.batches_under_way == 1)
        run.write("stderr", b"second\n")
        eventually(lambda: capture.reader.batches_under_way == 2)
        leaver = threading.Thread(target=bench.pump.detach, args=(capture,))
        leaver.start()
        eventually(lambda: capture.reader.state in {CaptureState.RELEASED, CaptureState.SETTLED})
        leaver.join(0.2)
        assert leaver.is_alive(), "bytes on their way would be stored after the sum was made"
        blocking.rollback()
    leaver.join(WAIT_SECONDS)
    ends = stored_ends(bench.store, owned.id)
    with database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, ends)
    assert bench.stored(owned, "all") == b"first\nsecond\n"
    for name, info in bench.store.sizes(owned.id).items():
        assert (info.sha256, info.closed) == (_sha256(bench.stored(owned, name)), True)


def test_a_run_taken_away_is_left_at_once_whatever_is_on_its_way(bench: Bench, database: Engine, owned: Owned) -> None:
    run, lost = bench.run(), threading.Event()
    capture = bench.attach(owned, run, lost=lost)
    run.begin()
    with database.connect() as blocking:
        blocking.execute(text("SELECT 1 FROM log_streams WHERE execution_id = :id FOR UPDATE"), {"id": owned.id})
        run.write("stdout", b"first\n")
        eventually(lambda: capture.reader.batches_under_way == 1)
        lost.set()
        leaver = threading.Thread(target=bench.pump.detach, args=(capture,))
        leaver.start()
        leaver.join(WAIT_SECONDS)
        assert not leaver.is_alive()
        blocking.rollback()


def test_a_fault_in_the_middle_of_a_batch_loses_and_holds_up_nothing(
    bench: Bench, database: Engine, owned: Owned, monkeypatch: pytest.MonkeyPatch
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
    _check(bench, other, ends[0], {"stdout": b"whole\n" * 100, "stderr": b""})
    _check(bench, owned, ends[1], {"stdout": b"broken\n" * 100, "stderr": b"before\n"})
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


def test_detached_runs_leave_no_descriptor_behind(bench: Bench, database: Engine) -> None:
    process = psutil.Process()
    bench.store.sizes(running_execution(database).id)
    before = process.num_fds()
    for _ in range(5):
        owned, run = running_execution(database), bench.run()
        capture = bench.attach(owned, run)
        run.begin()
        run.write("stdout", b"x")
        run.end()
        capture.finish(TAIL)
        bench.pump.detach(capture)
        bench.pump.detach(capture)
    eventually(lambda: process.num_fds() <= before + 1)  # the publisher's connection


def test_idle_runs_cost_next_to_nothing(bench: Bench, database: Engine) -> None:
    owned = running_execution(database)
    bench.attach(owned, bench.run())
    runs = [bench.run() for _ in range(100)]
    with database.begin() as connection:
        ids = connection.execute(text("SELECT gen_random_uuid() FROM generate_series(1, 100)")).scalars().all()
    for run, execution_id in zip(runs, ids, strict=True):
        run.begin()
        bench.attach(Owned(execution_id, 1), run)
    eventually(lambda: len(bench.pump._readers) == 101)
    before = psutil.Process().cpu_times()
    time.sleep(2)
    after = psutil.Process().cpu_times()
    assert (after.user + after.system) - (before.user + before.system) < 0.2


def test_invalid_utf8_and_zero_bytes_are_only_bytes(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    data = bytes(range(256)) * 10 + "ä€𝄞".encode()[:-1]
    for at in range(0, len(data), 100):
        run.write("stdout", data[at : at + 100])
    run.end()
    _check(bench, owned, capture.finish(TAIL), {"stdout": data, "stderr": b""})


def test_a_finished_run_may_be_removed_before_it_is_detached(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"all of it")
    run.end()
    capture.finish(TAIL)
    (run.folder / "stdout").unlink()
    time.sleep(0.1)
    assert capture.stopped_reason is None
    assert isinstance(bench.store, LogStore)
