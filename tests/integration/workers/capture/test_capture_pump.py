"""The log pump stores the bytes of a run on real files, a real Postgres and a real Valkey; the test is relay-pid1."""

import random
import time

import psutil
import pytest
from sqlalchemy import text

from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.transaction import Database
from relay_workers.capture.pump import REST_SECONDS
from tests.support.capture_checks import MIB, TAIL, check_end
from tests.support.log_fixtures import Bench, Owned, running_execution
from tests.support.waiting import eventually


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
    check_end(bench, owned, end, expected)


def test_what_a_record_says_arrives_and_wakes_the_runner(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    wake = capture._request.wake
    assert not capture.started.wait(0.1)
    assert not capture.over.is_set()
    wake.clear()
    run.begin()
    assert capture.started.wait(5)
    assert wake.wait(5)
    assert not capture.exited.is_set()
    run.exit()
    assert capture.exited.wait(5)
    assert not capture.over.wait(0.1)
    wake.clear()
    run.die()
    assert capture.over.wait(5)
    assert wake.wait(5)


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
    check_end(bench, owned, end, {"stdout": masked, "stderr": b"only the beginning of it: " + secret[:-1]})


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
    check_end(bench, owned, end, {"stdout": b"o" * 99_000, "stderr": b"e" * 1000})


def test_a_log_of_exactly_the_cap_is_whole(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    capture = bench.attach(owned, run, log_bytes=1000)
    run.begin()
    run.write("stdout", b"o" * 1000)
    run.end()
    end = capture.finish(TAIL)
    assert end.stopped_reason is None
    assert not end.streams["all"].truncated


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
    check_end(bench, owned, end, {"stdout": b"the step's own", "stderr": b""})


def test_lines_stay_whole_in_all_when_both_streams_flood(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    lines = {name: b"".join(b"%s line %d\n" % (name.encode(), n) for n in range(200_000)) for name in run.files}
    for name, data in lines.items():
        run.write(name, data)
    run.begin()
    capture = bench.attach(owned, run)
    run.end()
    end = capture.finish(TAIL)
    check_end(bench, owned, end, lines)
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
    check_end(bench, owned, end, expected)
    lines = bench.stored(owned, Stream.ALL).split(b"\n")
    assert sum(line.startswith(b"+ echo line") for line in lines) == 12


def test_a_run_with_both_hands_full_does_not_starve_another(bench: Bench, database: Database, owned: Owned) -> None:
    flood, quiet = bench.run(), bench.run()
    flood.write("stdout", random.Random(1).randbytes(32 * MIB))
    quiet.write("stdout", b"hello")
    other = running_execution(database)
    bench.attach(owned, flood)
    bench.attach(other, quiet)
    eventually(lambda: (bench.sizes(owned)["stdout"], bench.sizes(other)["stdout"]) == (32 * MIB, 5))
    assert last_transaction(database, other) < last_transaction(database, owned)


def last_transaction(database: Database, of: Owned) -> int:
    """The number of the transaction that stored the last bytes of an execution."""
    statement = text("SELECT max(xmin::text::bigint) FROM log_chunks WHERE execution_id = :id")
    with database.connect() as connection:
        return int(connection.execute(statement, {"id": of.id}).scalar_one())


def test_a_process_that_writes_all_the_time_is_stored_twenty_times_a_second(
    bench: Bench, database: Database, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    began = time.monotonic()
    for number in range(200):
        run.write("stdout", b"%d\n" % number)
        time.sleep(0.003)  # the process's own pause
    seconds = time.monotonic() - began
    run.end()
    written = b"".join(b"%d\n" % number for number in range(200))
    check_end(bench, owned, capture.finish(TAIL), {"stdout": written, "stderr": b""})
    counted = text("SELECT count(DISTINCT xmin::text) FROM log_chunks WHERE execution_id = :id")
    with database.connect() as connection:
        assert 2 <= connection.execute(counted, {"id": owned.id}).scalar_one() <= seconds / REST_SECONDS + 3


def test_idle_runs_cost_next_to_nothing(bench: Bench, database: Database) -> None:
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
    check_end(bench, owned, capture.finish(TAIL), {"stdout": data, "stderr": b""})
