"""Task events that a worker sends to Celery's listeners: a real worker on a real queue, with steps that do nothing."""

import threading
import time
from uuid import uuid4

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.message import task_id
from relay_core.domain.vocabulary import Reason
from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from relay_workers.celery.reporting import DetachedTaskReporter
from relay_workers.celery.tasks import TaskRequest, register
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost
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


def after_the_claim(end, seconds_running=0):
    def behave(reporter):
        reporter.report_started(seconds_running)
        return end(reporter)

    return behave


def completed(_reporter):
    return machine.completed(0)


def failed(_reporter):
    return machine.failed(Reason.EXIT_CODE, "3")


def killed(_reporter):
    return machine.killed("stop")


def left(_reporter):
    raise OwnershipLost


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (completed, ["task-succeeded"]),
        (lambda _: None, ["task-succeeded"]),  # a dev server that answers
        (failed, ["task-failed"]),
        (killed, ["task-revoked"]),
        (left, []),  # let go: the execution goes on elsewhere
    ],
)
def test_a_run_that_was_claimed(bench: Bench, end, last):
    uuid = bench.send(after_the_claim(end))
    bench.wait(last[0] if last else "task-started", uuid)
    assert bench.kinds(uuid) == ["task-received", "task-started", *last]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (left, []),  # another worker's, or it waits
        (killed, ["task-revoked"]),
        (failed, ["task-failed"]),
    ],
)
def test_a_run_that_was_not_claimed(bench: Bench, end, told):
    uuid = bench.send(end)
    bench.wait("task-succeeded", bench.send(after_the_claim(completed)))  # one slot: the first is over
    assert bench.kinds(uuid) == told


def test_a_failure_has_a_message_and_no_traceback(bench: Bench):
    event = bench.wait("task-failed", bench.send(after_the_claim(failed)))
    assert (event["exception"], event["traceback"]) == ("RunFailed('exit_code: 3')", None)


def test_an_adopted_run_shows_its_own_start_and_its_whole_runtime(bench: Bench):
    uuid = bench.send(after_the_claim(completed, HOUR))
    assert bench.wait("task-succeeded", uuid)["runtime"] == pytest.approx(HOUR, abs=30)
    assert bench.wait("task-started", uuid)["timestamp"] == pytest.approx(time.time() - HOUR, abs=30)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (completed, ["task-succeeded"]),
        (failed, ["task-failed"]),
        (killed, ["task-revoked"]),
        (left, []),
    ],
)
def test_a_run_adopted_beside_the_slots_is_told_of_too(bench: Bench, end, last):
    uuid = str(uuid4())
    reporter = DetachedTaskReporter(uuid, lambda: TaskRequest.event_dispatcher)
    threading.Thread(target=reporter.carry_out, args=[after_the_claim(end, HOUR)]).start()
    ended = bench.wait(last[0] if last else "task-started", uuid)
    assert bench.kinds(uuid) == ["task-started", *last]
    if last == ["task-succeeded"]:
        assert ended["runtime"] == pytest.approx(HOUR, abs=30)


def test_a_copy_of_what_is_live_here_is_dropped_and_one_that_was_let_go_passes(bench: Bench):
    execution_id = uuid4()
    control = ExecutionControl(execution_id, 1, task_id(execution_id, 1))
    ran = threading.Event()
    with TaskRequest.live.holding(control):
        bench.send(lambda _: ran.set(), execution_id)
        bench.wait(
            "task-succeeded", bench.send(after_the_claim(completed))
        )  # the same queue: the copy was taken before
        assert not ran.is_set()
        control.let_go()
        bench.send(lambda _: ran.set(), execution_id)
        assert ran.wait(10)
