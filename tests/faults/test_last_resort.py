"""Without any worker, a step is still ended when its time has been up for long: by relay-pid1."""

import pytest

from tests.support.fault_stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    "command", ["sleep 1000", "trap '' TERM; while :; do sleep 1; done", "setsid sleep 1000 & wait"]
)
def test_a_step_does_not_run_for_ever_because_nobody_watches(stack: Stack, command: str):
    limits = {"timeout_seconds": 3, "kill_grace_seconds": 1}
    run = stack.relay.submit(stack.repo, f"echo begun; {command}", limits=limits)
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 6)
    stack.relay.kill_9("worker")
    stack.relay.until(lambda: "sleep 1000" not in stack.relay.processes_in(run), 40, "its end")
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("failed", "timeout")
    assert stack.relay.log(agent["id"]) == b"begun\n"
    stack.must_be_whole(agent["id"])


def test_the_clock_of_a_step_ends_with_the_step(stack: Stack):
    run = stack.relay.submit(stack.repo, "true")
    stack.relay.wait_chain(run)
    assert "sleep" not in stack.relay.processes_in(run)
