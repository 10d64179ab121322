"""A preparation that is killed does not wait for an engine that hangs."""

from concurrent.futures import Future
from threading import Timer
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.execution import clone
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost


@pytest.fixture
def control() -> ExecutionControl:
    return ExecutionControl(uuid4(), 1, "task")


def test_a_kill_does_not_wait_for_a_container_that_the_engine_never_makes(control):
    Timer(0.05, control.ask_kill).start()
    with pytest.raises(StepFailed) as caught:
        clone.await_container(Future(), control)
    assert caught.value.reason == Reason.USER


def test_a_worker_that_goes_away_says_nothing_of_the_run(control):
    control.let_go()
    with pytest.raises(OwnershipLost):
        clone.await_container(Future(), control)
