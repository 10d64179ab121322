"""What a worker tells Celery's listeners: a real worker on a real queue, without what it would run."""

import threading
import time
from uuid import uuid4

import pytest
from celery.exceptions import Ignore

from relay_core.domain.message import task_id
from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from relay_workers.celery.reporting import Beside, RunFailed, RunKilled, announce_started
from relay_workers.celery.tasks import RunRequest, register
from relay_workers.ownership.live_executions import Control
from tests.support.celery_bench import Bench, working

HOUR = 3600


@pytest.fixture(scope="module")
def bench(redis_url):
    app = make_app(Settings(redis_url=redis_url))
    bench = Bench(app)
    register(app, bench.run)

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": bench.add})
        listener = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None}, daemon=True)
        listener.start()
        with working(bench):
            bench.wait("worker-heartbeat", None)
            yield bench
        receiver.should_stop = True
        listener.join(10)
    app.close()


def after_the_claim(end):
    def behave():
        announce_started(0)
        end()

    return behave


def raising(error):
    def end():
        raise error

    return end


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (lambda: None, ["task-succeeded"]),
        (raising(RunFailed("no")), ["task-failed"]),
        (raising(RunKilled("stop")), ["task-revoked"]),
        (raising(Ignore()), []),  # let go: the run goes on elsewhere
    ],
)
def test_a_run_that_was_claimed(bench: Bench, end, last):
    uuid = bench.send(after_the_claim(end))
    bench.wait(last[0] if last else "task-started", uuid)
    assert bench.kinds(uuid) == ["task-received", "task-started", *last]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (raising(Ignore()), []),  # somebody else's, or it waits
        (raising(RunKilled("before it started")), ["task-revoked"]),
        (raising(RunFailed("its workspace is gone")), ["task-failed"]),
    ],
)
def test_a_run_that_was_not_claimed(bench: Bench, end, told):
    uuid = bench.send(end)
    bench.wait("task-succeeded", bench.send(lambda: announce_started(0)))  # one slot: the first is over
    assert bench.kinds(uuid) == told


def test_a_failure_has_a_message_and_no_traceback(bench: Bench):
    failed = bench.wait("task-failed", bench.send(after_the_claim(raising(RunFailed("exit_code: 3")))))
    assert (failed["exception"], failed["traceback"]) == ("RunFailed('exit_code: 3')", None)


def test_an_adopted_run_shows_its_own_start_and_its_whole_runtime(bench: Bench):
    uuid = bench.send(lambda: announce_started(HOUR))
    assert bench.wait("task-succeeded", uuid)["runtime"] == pytest.approx(HOUR, abs=30)
    assert bench.wait("task-started", uuid)["timestamp"] == pytest.approx(time.time() - HOUR, abs=30)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (lambda: None, ["task-succeeded"]),
        (raising(RunFailed("no")), ["task-failed"]),
        (raising(RunKilled("stop")), ["task-revoked"]),
        (raising(Ignore()), []),
    ],
)
def test_a_run_adopted_beside_the_slots_is_told_of_too(bench: Bench, end, last):
    def run():
        announce_started(HOUR)
        end()

    uuid = str(uuid4())
    threading.Thread(target=Beside(uuid, lambda: RunRequest.dispatcher).carry_out, args=[run]).start()
    ended = bench.wait(last[0] if last else "task-started", uuid)
    assert bench.kinds(uuid) == ["task-started", *last]
    if last == ["task-succeeded"]:
        assert ended["runtime"] == pytest.approx(HOUR, abs=30)


def test_a_copy_of_what_is_live_here_is_dropped_and_one_that_was_let_go_passes(bench: Bench):
    execution_id = uuid4()
    control = Control(execution_id, 1, task_id(execution_id, 1))
    ran = threading.Event()
    with RunRequest.live.holding(control):
        bench.send(ran.set, execution_id)
        bench.wait(
            "task-succeeded", bench.send(lambda: announce_started(0))
        )  # the same queue: the copy was taken before
        assert not ran.is_set()
        control.let_go()
        bench.send(ran.set, execution_id)
        assert ran.wait(10)
