"""Postgres, Valkey and the API go away and come back: nothing is lost but time."""

import time
from uuid import UUID

import pytest
import redis
from sqlalchemy import text

from relay_core.domain.message import QueueMessage
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import send
from relay_core.settings import Settings
from tests.support.fault_stack import Stack, lines, numbered

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

QUEUED_RUNS = 50
WRITING_RUNS = 20
POSTGRES_AWAY_SECONDS = 60
READ_ONLY_SECONDS = 8


def starts(stack: Stack, execution_id: str) -> int:
    return [kind for kind, _ in stack.events(execution_id)].count("execution.started")


def test_postgres_is_away_for_a_minute_while_runs_write(stack: Stack):
    """All complete with all bytes. The worker has a slot for each of them: one that waits would start after others end."""
    assert int(stack.relay.environment["RELAY_WORKER_CONCURRENCY"]) >= WRITING_RUNS
    count = 1500  # more than a minute: the first one still writes when the last one has begun, on a busy machine too
    runs = [stack.relay.submit(stack.repo, numbered(count, 0.05)) for _ in range(WRITING_RUNS)]
    agents = [stack.agent(run, {"running"}, 120) for run in runs]
    stack.wait_log(agents[-1]["id"], 1)
    stack.postgres.stop()
    time.sleep(POSTGRES_AWAY_SECONDS)  # the fault itself
    stack.postgres.start()
    for run in runs:
        ended = stack.agent(run, seconds=120)
        assert (ended["status"], ended["reason"]) == ("completed", None)
        assert stack.relay.log(ended["id"], "stdout") == lines(count)
        stack.must_be_whole(ended["id"])


def test_postgres_takes_no_writes_for_a_while_as_after_a_failover(stack: Stack):
    """The process goes on, and its command is not blamed."""
    run = stack.relay.submit(stack.repo, numbered(6000))
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 100)
    stack.postgres_setting("default_transaction_read_only", "on")
    time.sleep(READ_ONLY_SECONDS)  # the fault itself
    stack.postgres_setting("default_transaction_read_only", "off")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("completed", None, 0)
    assert stack.relay.log(agent["id"], "stdout") == lines(6000)
    stack.must_be_whole(agent["id"])


def test_postgres_crashes_under_a_run_and_its_worker_dies_too(stack: Stack):
    run = stack.relay.submit(stack.repo, numbered(5000))
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 1000)
    stack.relay.kill_9("worker")
    stack.postgres.crash()
    stack.postgres.start()
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert ended["status"] == "completed"
    assert stack.relay.log(agent["id"], "stdout") == lines(5000)
    stack.must_be_whole(agent["id"])


def test_flushall_with_fifty_queued_runs(stack: Stack):
    """Redis holds nothing that matters; every run runs, once."""
    stack.relay.stop("worker")
    runs = [stack.relay.submit(stack.repo) for _ in range(QUEUED_RUNS)]
    with redis.Redis.from_url(stack.valkey.url) as client:
        queued = stack.relay.until(lambda: client.llen("relay:pool.default"))
        assert queued < QUEUED_RUNS, "the others wait in Postgres for a place"
        client.flushall()
    with stack.relay.database.begin() as connection:  # as if they had been sent a while ago
        connection.execute(text("UPDATE execution_processes SET published_at = now() - interval '1 minute'"))
    stack.relay.start("worker")
    for run in runs:
        steps = stack.relay.wait_chain(run, 240)
        assert [step["status"] for step in steps] == ["completed", "completed"]
        assert [starts(stack, step["id"]) for step in steps] == [1, 1]


def test_valkey_restarts_in_the_middle_of_a_run(stack: Stack):
    run = stack.relay.submit(stack.repo, f"touch changed; {numbered(4000)}", cleanup_script="true")
    agent = stack.agent(run, {"running"})
    stack.valkey.stop()
    stack.wait_log(agent["id"], 100)  # logs do not need it
    time.sleep(1)
    stack.valkey.start()
    assert [step["status"] for step in stack.relay.wait_chain(run)] == ["completed"] * 3
    assert stack.relay.log(agent["id"], "stdout") == lines(4000)


@pytest.mark.alone
def test_a_kill_without_valkey_is_carried_out(stack: Stack):
    """Seven seconds without a doorbell (here the lease is renewed every second)."""
    run = stack.relay.submit(stack.repo, "sleep 1000", limits={"kill_grace_seconds": 0})
    agent = stack.agent(run, {"running"})
    stack.valkey.stop()
    try:
        began = time.monotonic()
        stack.relay.kill(agent["id"])
        ended = stack.agent(run)
        assert time.monotonic() - began < 7
        assert (ended["status"], ended["reason"]) == ("killed", "user")
    finally:
        stack.valkey.start()


def test_a_worker_dies_while_valkey_is_away(stack: Stack):
    """No worker can take the message: the orphan is adopted without it."""
    wait = "while [ ! -e /workspace/home/go ]; do sleep 0.1; done; "
    run = stack.relay.submit(stack.repo, wait + numbered(1000))
    agent = stack.agent(run, {"running"})
    stack.relay.start("worker-2")
    stack.valkey.stop()
    try:
        stack.relay.kill_9("worker")
        stack.relay.until(lambda: "execution.adopted" in dict(stack.events(agent["id"])), 30)
        (stack.relay.data_dir / "workspaces" / run["workspace_id"] / "home" / "go").touch()
        ended = stack.agent(run)
    finally:
        stack.valkey.start()
    assert ended["status"] == "completed"
    assert stack.relay.log(agent["id"], "stdout") == lines(1000)


@pytest.mark.proves("T003-30")
def test_fifty_copies_of_a_message_are_one_run(stack: Stack):
    """T003-30: an at-least-once queue, exactly one live copy."""
    settings = Settings(redis_url=stack.valkey.url)
    app = make_app(settings)
    run = stack.relay.submit(stack.repo, "echo once >>/workspace/home/ran; sleep 2; cat /workspace/home/ran")
    agent = stack.agent(run, {"running"})
    with stack.relay.database.connect() as connection:
        node = connection.scalar(text("SELECT node_id FROM workspaces WHERE id = :id"), {"id": run["workspace_id"]})
    message = QueueMessage(UUID(agent["id"]), 1, RunReason.CODING_AGENT, "default", node)
    for _ in range(50):
        send(app, message)
    ended = stack.agent(run)
    assert ended["status"] == "completed"
    assert stack.relay.log(agent["id"], "stdout") == b"once\n"
    assert starts(stack, agent["id"]) == 1
    stack.must_be_whole(agent["id"])


def test_the_api_dies_and_its_client_comes_again(stack: Stack):
    key = {"Idempotency-Key": "once-and-only-once"}
    body = {"repos": [{"url": f"file://{stack.repo}"}], "prompt": "p", "executor": {"name": "shell", "command": "true"}}
    first = stack.relay.http.post("/v1/runs", json=body, headers=key).json()
    stack.relay.kill_9("api")
    stack.relay.start("api")
    again = stack.relay.http.post("/v1/runs", json=body, headers=key).json()
    assert again["execution_id"] == first["execution_id"]
    assert [step["status"] for step in stack.relay.wait_chain(first)] == ["completed", "completed"]
