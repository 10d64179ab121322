"""A worker whose clock is two hours off: leases, deadlines and presence follow Postgres' clock."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fault_stack import LEASE_SECONDS, Stack, lines, numbered

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

SOURCE = Path(__file__).with_name("wrong_clock.c")
TWO_HOURS = 2 * 60 * 60


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", made, SOURCE], check=True)
    return made


@pytest.mark.proves("T003-15")
@pytest.mark.parametrize("off", [TWO_HOURS, -TWO_HOURS])
@pytest.mark.proves("T003-15")
def test_a_worker_with_a_wrong_clock_keeps_and_adopts_runs(stack: Stack, library: Path, off: int):
    """T003-15."""
    wrong = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_SECONDS": str(off)}
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
    stack.relay.kill_9("worker")  # the next test gets one with the right time
