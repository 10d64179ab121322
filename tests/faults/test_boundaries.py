"""kill -9 of the worker at each boundary of a step: one end, once. The boundary is held open by a lock of the test's."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from relay_workers.containers.pid1.record import decode, is_held
from tests.support.fault_stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

ONCE = "echo once >>/workspace/home/ran; cat /workspace/home/ran"


@contextmanager
def locked(stack: Stack, statement: str, **names: str) -> Iterator[None]:
    """Hold a row, so that a transaction that wants it waits."""
    with stack.relay.database.connect() as connection, connection.begin():
        connection.execute(text(statement), names)
        yield


def waiting(stack: Stack) -> bool:
    """Whether a worker's transaction waits for a lock."""
    with stack.relay.database.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'w%'"
        return bool(connection.scalar(text(asked)))


def next_step(stack: Stack, run: dict[str, str], script: str) -> str:
    """A further step of a workspace that is ready."""
    body = {"run_reason": "setup_script", "script": script}
    return stack.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]


def must_have_run_once(stack: Stack, execution_id: str, output: bytes = b"once\n") -> None:
    assert stack.relay.wait_end(execution_id)["status"] == "completed"
    assert stack.relay.log(execution_id, "stdout") == output
    stack.must_be_whole(execution_id)
    kinds = [kind for kind, _ in stack.events(execution_id)]
    assert kinds.count("execution.started") == 1
    assert kinds.count("execution.completed") == 1


def ready(stack: Stack) -> dict[str, str]:
    run = stack.relay.submit(stack.repo)
    stack.relay.wait_chain(run)
    return run


def die_and_come_back(stack: Stack) -> None:
    stack.relay.kill_9("worker")
    stack.relay.start("worker")


def test_before_anything_was_prepared(stack: Stack):
    run = ready(stack)
    with locked(stack, "LOCK TABLE execution_process_repo_states IN EXCLUSIVE MODE"):
        step = next_step(stack, run, ONCE)
        stack.relay.until(lambda: waiting(stack))
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_have_run_once(stack, step)


def test_while_the_container_has_not_answered_a_start(stack: Stack):
    """The request, with the node's files, waits in the socket of a frozen container after the worker that sent it has died."""
    run = ready(stack)
    container = stack.relay.container(run)
    with locked(stack, "LOCK TABLE execution_process_repo_states IN EXCLUSIVE MODE"):
        step = next_step(stack, run, ONCE)
        stack.relay.until(lambda: waiting(stack))
        container.pause()
    record = stack.relay.data_dir / "executions" / step / "1" / "record"
    try:
        stack.relay.until(lambda: busy(lambda: record.exists() and is_held(record)), what="the start is asked for")
        stack.relay.kill_9("worker")
    finally:
        container.unpause()
    stack.relay.start("worker")
    must_have_run_once(stack, step)


def test_as_soon_as_it_has_started(stack: Stack):
    run = ready(stack)
    step = next_step(stack, run, f"sleep 1; {ONCE}")
    directory = stack.relay.data_dir / "executions" / step
    stack.relay.until(lambda: busy(lambda: started(directory)))
    die_and_come_back(stack)
    must_have_run_once(stack, step)


def started(directory: Path) -> bool:
    return any(decode(record.read_bytes()).started for record in directory.glob("*/record") if record.stat().st_size)


def busy(true: Callable[[], bool]) -> bool:
    """Look without a pause for a while: the moment is what counts."""
    deadline = time.monotonic() + 1
    while not true():
        if time.monotonic() > deadline:
            return False
    return True


def test_when_it_has_ended_and_its_log_is_not_stored(stack: Stack):
    run = ready(stack)
    with locked(stack, "LOCK TABLE log_chunks IN EXCLUSIVE MODE"):
        step = next_step(stack, run, ONCE)
        stack.relay.until(lambda: waiting(stack))
        stack.relay.until(lambda: "/bin/sh" not in stack.relay.processes_in(run))
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_have_run_once(stack, step)


def test_between_term_and_the_kill_that_follows(stack: Stack):
    """The next worker ends what the first began: the step, which holds on, is told again and then killed."""
    script = "trap 'echo term' TERM; echo up; while :; do sleep 0.1; done"
    run = stack.relay.submit(stack.repo, script, limits={"kill_grace_seconds": 3})
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], len("up\n"))
    stack.relay.kill(agent["id"])
    stack.wait_log(agent["id"], len("up\nterm\n"))
    die_and_come_back(stack)
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("killed", "user")
    assert "/bin/sh" not in stack.relay.processes_in(run)
    assert stack.relay.log(ended["id"], "stdout").startswith(b"up\nterm\n")
    stack.must_be_whole(ended["id"])


def test_while_the_state_after_it_is_recorded(stack: Stack):
    """In git's container, which commits what the step left: one commit, also if another worker records it."""
    script = "until [ -e /workspace/go ]; do sleep 0.05; done; echo new >new; echo once"
    run = stack.relay.submit(stack.repo, script)
    agent = stack.agent(run, {"running"})
    label = f"relay.workspace_id={run['workspace_id']}"
    client = stack.relay.docker_client()
    heard = client.events(decode=True, filters={"label": [label, "relay.tool=1"], "event": "start"})
    (stack.relay.data_dir / "workspaces" / run["workspace_id"] / "go").touch()
    next(heard)
    stack.relay.kill_9("worker")
    heard.close()
    client.close()
    stack.relay.start("worker")
    must_have_run_once(stack, agent["id"])
    (state,) = stack.agent(run)["repo_states"]
    assert (state["problem"], state["dirty"]) == (None, False)
    clone = next((stack.relay.data_dir / "workspaces" / run["workspace_id"]).rglob(".git")).parent
    log = ["git", "-c", "safe.directory=*", "-C", clone, "rev-list", f"{state['before_head_commit']}..HEAD"]
    assert subprocess.check_output(log, text=True).split() == [state["after_head_commit"]]


@pytest.mark.proves("T002-09")
def test_in_the_terminal_transaction(stack: Stack):
    """T002-09."""
    run = ready(stack)
    step = next_step(stack, run, f"sleep 1; {ONCE}")
    stack.relay.wait_step(run, "setup_script", {"running"})
    with locked(stack, "SELECT 1 FROM lanes WHERE workspace_id = :id FOR UPDATE", id=run["workspace_id"]):
        stack.relay.until(lambda: waiting(stack))
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_have_run_once(stack, step)


@pytest.mark.proves("T002-10")
def test_between_the_terminal_transaction_and_the_message_for_the_next_step(stack: Stack):
    """T002-10."""
    run = stack.relay.submit(stack.repo, f"touch changed; {ONCE}", cleanup_script=ONCE)
    agent = stack.agent(run, {"running", "completed"})
    stack.valkey.stop()  # the message cannot be sent
    stack.agent(run, {"completed"})
    stack.relay.kill_9("worker")
    stack.valkey.start()
    with stack.relay.database.begin() as connection:  # as if it had waited for the sweep's turn
        connection.execute(text("UPDATE execution_processes SET published_at = published_at - interval '1 minute'"))
    stack.relay.start("worker")
    cleanup = stack.relay.wait_step(run, "cleanup_script", {"completed"})
    must_have_run_once(stack, agent["id"])
    must_have_run_once(stack, cleanup["id"], b"once\nonce\n")
