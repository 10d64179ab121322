"""A run outlives its worker: no byte lost, none doubled, no second run."""

import os
import signal
import time
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.fault_stack import LEASE_SECONDS, Stack, lines, numbered
from tests.support.machine import engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def adoptions(stack: Stack, execution_id: str) -> int:
    return [kind for kind, _ in stack.events(execution_id)].count("execution.adopted")


@pytest.mark.proves("T003-31")
def test_kill_9_in_the_middle_of_a_run(stack: Stack):
    """T003-31: it is never run again; the new worker adopts it at once, and every line is there once."""
    run = stack.relay.submit(stack.repo, f"touch changed; {numbered(6000)}", cleanup_script="echo after")
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 100)
    stack.relay.kill_9("worker")
    time.sleep(0.5)  # it writes on while no worker reads
    died = time.monotonic()
    stack.relay.start("worker")
    stack.relay.until(lambda: adoptions(stack, agent["id"]) == 1, 15, "adoption")
    print(f"adopted {time.monotonic() - died:.1f} s after the start of the next worker")
    *_, ended, cleanup = stack.relay.wait_chain(run)
    assert (ended["status"], cleanup["status"]) == ("completed", "completed")
    assert stack.relay.log(agent["id"], "stdout") == lines(6000)
    assert ended["repo_states"][0]["after_head_commit"] is not None
    stack.must_be_whole(agent["id"])


def test_a_run_that_ended_while_nobody_watched(stack: Stack):
    run = stack.relay.submit(stack.repo, numbered(300) + "\nexit 3")
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 1)
    stack.relay.kill_9("worker")
    stack.relay.until(lambda: "perl" not in stack.relay.processes_in(run))
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert (ended["status"], ended["exit_code"]) == ("completed", 0)
    assert stack.relay.log(agent["id"], "stdout") == lines(300)
    stack.must_be_whole(agent["id"])


def test_another_worker_of_the_node_takes_over_at_once(stack: Stack):
    """An owner is provably dead when its lock is free: the adopter does not wait for the end of the lease."""
    run = stack.relay.submit(stack.repo, numbered(4000))
    agent = stack.agent(run, {"running"})
    stack.relay.start("worker-2")
    stack.relay.kill_9("worker")
    ended = stack.agent(run)
    assert ended["status"] == "completed"
    assert stack.relay.log(agent["id"], "stdout") == lines(4000)
    stack.must_be_whole(agent["id"])


@pytest.mark.proves("T002-21")
def test_a_worker_that_sleeps_past_its_lease_comes_back_and_touches_nothing(stack: Stack):
    """T002-21: SIGSTOP past the lease, then SIGCONT."""
    run = stack.relay.submit(stack.repo, numbered(14000))
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 100)
    sleeper = stack.relay.processes["worker"]
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        stack.relay.start("worker-2")
        stack.relay.until(lambda: adoptions(stack, agent["id"]) == 1, LEASE_SECONDS + 15, "adoption")
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    ended = stack.agent(run)
    assert ended["status"] == "completed"
    assert stack.relay.log(agent["id"], "stdout") == lines(14000)
    assert adoptions(stack, agent["id"]) == 1
    stack.must_be_whole(agent["id"])


def test_a_kill_asked_for_while_no_worker_lives_is_carried_out_by_the_next(stack: Stack):
    run = stack.relay.submit(stack.repo, "sleep 1000", limits={"kill_grace_seconds": 1})
    agent = stack.agent(run, {"running"})
    stack.relay.kill_9("worker")
    stack.relay.kill(agent["id"])
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("killed", "user")
    assert "sleep" not in stack.relay.processes_in(run)
    stack.must_be_whole(agent["id"])


def test_a_clone_whose_worker_died_is_repeated(stack: Stack):
    run = stack.relay.submit(stack.repo, "true")
    clone = stack.relay.wait_step(run, "clone", {"running"})
    stack.relay.kill_9("worker")
    stack.relay.start("worker")
    assert [step["status"] for step in stack.relay.wait_chain(run)] == ["completed", "completed"]
    assert adoptions(stack, clone["id"]) == 1
    stack.must_be_whole(clone["id"])


def test_a_worker_that_slept_in_a_clone_touches_nothing_of_its_successors(stack: Stack):
    """Found by bench.chaos: it removed the container in which the agent ran by then."""
    run = stack.relay.submit(stack.repo, numbered(6000))
    with stack.relay.database.connect() as connection, connection.begin():
        connection.execute(text("LOCK TABLE log_chunks IN EXCLUSIVE MODE"))  # the clone cannot end before its log
        clone = stack.relay.wait_step(run, "clone", {"running"})
        stack.relay.until(lambda: waits_for_a_lock(stack))
        # Stopped in the fetch, it would keep the mirror's lock: two gits must not write to one mirror.
        stack.relay.until(lambda: has_started(stack, run))
        sleeper = stack.relay.processes["worker"]
        os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        stack.relay.start("worker-2")
        # The sleeper holds locks in Postgres, which ends its transaction after thirty seconds.
        agent = stack.agent(run, {"running"}, LEASE_SECONDS + 80)
        stack.wait_log(agent["id"], 100)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("completed", None)
    assert stack.relay.log(agent["id"], "stdout") == lines(6000)
    assert adoptions(stack, clone["id"]) == 1
    stack.must_be_whole(clone["id"])


def has_started(stack: Stack, run: dict[str, Any]) -> bool:
    """Whether the container of a run's workspace runs."""
    labels = [f"relay.workspace_id={run['workspace_id']}", "relay.role=workspace"]
    return bool(engine().api.containers(filters={"label": labels}))


def waits_for_a_lock(stack: Stack) -> bool:
    with stack.relay.database.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'w%'"
        return bool(connection.scalar(text(asked)))


def test_a_rolling_restart_loses_nothing(stack: Stack):
    """TERM detaches in seconds; the next worker adopts."""
    runs = [stack.relay.submit(stack.repo, numbered(5000)) for _ in range(5)]
    for run in runs:
        stack.agent(run, {"running"})
    began = time.monotonic()
    stack.relay.stop("worker")
    assert time.monotonic() - began < 15
    stack.relay.start("worker")
    for run in runs:
        ended = stack.agent(run)
        assert ended["status"] == "completed"
        assert stack.relay.log(ended["id"], "stdout") == lines(5000)
        stack.must_be_whole(ended["id"])


def test_a_dev_server_is_adopted_and_answers_again(stack: Stack):
    run = stack.relay.submit(stack.repo, "true", dev_server_script="exec python3 -m http.server --bind 0.0.0.0 $PORT")
    stack.relay.wait_chain(run)
    started = stack.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server").json()
    url = lambda: (stack.relay.get(f"/v1/executions/{started['id']}").get("dev_server") or {}).get("url")  # noqa: E731
    first = stack.relay.until(url)
    stack.relay.kill_9("worker")
    stack.relay.start("worker")
    stack.relay.until(lambda: adoptions(stack, started["id"]) == 1, 15)
    ready = lambda: [kind for kind, _ in stack.events(started["id"])].count("dev_server.ready") == 2  # noqa: E731
    stack.relay.until(ready, 30, first)
    assert stack.relay.http.get(url()).status_code == 200
    stack.relay.kill(started["id"])
    ended = stack.relay.wait_step(run, "dev_server", {"killed"})
    stack.must_be_whole(ended["id"])
