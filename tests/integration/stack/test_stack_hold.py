"""Waiting for a stack in the foreground, with a real child process in place of the supervisor."""

import signal
from collections.abc import Iterator

import psutil
import pytest

from relay_stack.files.stack_state import StackState
from relay_stack.start import RunningStack, hold


@pytest.fixture
def stack() -> Iterator[RunningStack]:
    supervisor = psutil.Popen(["sleep", "60"])
    state = StackState("", "", "", "", "", (), supervisor.pid, supervisor.create_time())
    yield RunningStack(state, supervisor)
    if supervisor.is_running():
        supervisor.kill()
        supervisor.wait()


def test_ctrl_c_counts_as_soon_as_the_user_is_told_of_it(stack):
    told = []

    def announce() -> None:
        told.append("Ctrl-C ends it")
        signal.raise_signal(signal.SIGINT)

    assert hold(stack, announce, lambda: told.append("stopping"))
    assert told == ["Ctrl-C ends it", "stopping"]
    assert stack.supervisor.returncode == -signal.SIGTERM


def test_a_stack_that_ends_by_itself_was_not_interrupted(stack):
    assert not hold(stack, stack.supervisor.kill, lambda: pytest.fail("nobody interrupted it"))
