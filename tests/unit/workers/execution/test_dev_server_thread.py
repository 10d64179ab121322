"""The thread that a dev server runs on, and what its Celery task learns of it."""

import threading
from uuid import uuid4

import pytest

from relay_core.domain import execution as machine
from relay_workers.execution.dev_server import until_ready
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost


@pytest.fixture
def control() -> ExecutionControl:
    return ExecutionControl(uuid4(), 1, "task")


def test_a_server_that_ended_before_it_answered_tells_its_end(control):
    end = machine.cancelled("for a test")
    assert until_ready(control, lambda: end) is end


def test_a_port_that_answers_settles_it_while_the_server_goes_on(control):
    ends = threading.Event()

    def serve():
        control.on_ready()
        ends.wait(30)
        return machine.cancelled("later")

    assert until_ready(control, serve) is None
    ends.set()


@pytest.mark.parametrize("error", [OwnershipLost(), RuntimeError("a bug")])
def test_an_error_of_the_thread_is_the_tasks_error(control, error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        until_ready(control, fail)
