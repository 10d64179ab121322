"""A new worker adopts a run, and an old one lets it go: the log continues at the stored offset; the test is relay-pid1."""

import random
import threading
import time

import psutil
import pytest
from sqlalchemy import text

from relay_core.domain.errors import Stale
from relay_core.store.logs import log_store
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_workers.capture.reader import CaptureState
from relay_workers.execution.step_log import stored_ends
from tests.support.capture_checks import TAIL, check_end, sha256
from tests.support.log_fixtures import WAIT_SECONDS, Bench, Owned, running_execution, taken_over
from tests.support.waiting import eventually


def test_a_record_that_is_let_go_before_the_start_tells_nothing(bench: Bench, owned: Owned) -> None:
    """A start whose request did not arrive; only the channel can tell whether it happens later."""
    run = bench.run()
    capture = bench.attach(owned, run)
    run.take()
    run.die()
    assert capture.heard.wait(5)
    assert not capture.over.wait(0.1)
    capture.has_started()
    assert capture.over.wait(5), "relay-pid1 started it, and ended before it could record that"


def test_an_adopter_of_a_step_that_is_over_learns_it_at_once(bench: Bench, owned: Owned) -> None:
    run = bench.run()
    run.begin()
    run.write("stdout", b"last words")
    run.end()
    capture = bench.attach(owned, run, started=True)
    assert capture.over.wait(5)
    check_end(bench, owned, capture.finish(TAIL), {"stdout": b"last words", "stderr": b""})


def test_a_new_worker_goes_on_where_the_stored_log_ends(bench: Bench, database: Database, owned: Owned) -> None:
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
    check_end(bench, owned, end, masked)


def test_the_log_of_another_owner_is_left_alone(bench: Bench, database: Database, owned: Owned) -> None:
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


def test_a_run_left_with_batches_on_their_way_is_closed_with_the_sum_of_what_is_stored(
    bench: Bench, database: Database, owned: Owned
) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    with (
        database.engine.connect() as blocking
    ):  # the first batch waits in Postgres for this lock, the next one behind it
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
        assert (info.sha256, info.closed) == (sha256(bench.stored(owned, name)), True)


def test_a_run_taken_away_is_left_at_once_whatever_is_on_its_way(
    bench: Bench, database: Database, owned: Owned
) -> None:
    run, lost = bench.run(), threading.Event()
    capture = bench.attach(owned, run, lost=lost)
    run.begin()
    with database.engine.connect() as blocking:
        blocking.execute(text("SELECT 1 FROM log_streams WHERE execution_id = :id FOR UPDATE"), {"id": owned.id})
        run.write("stdout", b"first\n")
        eventually(lambda: capture.reader.batches_under_way == 1)
        lost.set()
        leaver = threading.Thread(target=bench.pump.detach, args=(capture,))
        leaver.start()
        leaver.join(WAIT_SECONDS)
        assert not leaver.is_alive()
        blocking.rollback()


def test_detached_runs_leave_no_descriptor_behind(bench: Bench, database: Database) -> None:
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
