"""A worker whose clock is two hours off: leases, deadlines and presence follow Postgres' clock."""

from pathlib import Path

import libfaketime
import pytest

from tests.support.fault_stack import LEASE_SECONDS, Stack, lines, numbered

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


@pytest.mark.parametrize("off", ["+2h", "-2h"])
def test_a_worker_with_a_wrong_clock_keeps_and_adopts_runs(stack: Stack, off: str):
    """T003-15."""
    wrong = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    run = stack.relay.submit(stack.repo, numbered(5000, 0.003), limits={"timeout_seconds": 600})
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 100)
    stack.relay.kill_9("worker")
    stack.relay.environment |= wrong
    try:
        stack.relay.start("worker")
    finally:
        for name in wrong:
            del stack.relay.environment[name]
    stack.relay.start("worker-2")  # with the right time: it must not take anything for expired
    second = stack.relay.submit(stack.repo, f"sleep {LEASE_SECONDS + 3}; echo done")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("completed", None)
    assert stack.relay.log(agent["id"], "stdout") == lines(5000)
    assert [kind for kind, _ in stack.events(agent["id"])].count("execution.adopted") == 1
    other = stack.agent(second)
    assert other["status"] == "completed"
    assert "execution.adopted" not in dict(stack.events(other["id"]))
    assert {node["liveness"] for node in stack.relay.get("/v1/nodes")["items"]} >= {"online"}
    stack.must_be_whole(agent["id"])
