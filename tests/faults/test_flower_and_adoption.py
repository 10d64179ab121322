"""Flower when a worker dies: the same task goes on, is shown with its whole runtime, and can still be terminated."""

from collections.abc import Iterator

import pytest

from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from tests.support.fault_stack import Stack, numbered
from tests.support.flower import Events, Flower, recording

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture
def flower(stack: Stack) -> Iterator[Flower]:
    flower = Flower(stack.relay)
    yield flower
    flower.stop()


@pytest.fixture
def events(stack: Stack) -> Iterator[Events]:
    app = make_app(Settings(redis_url=stack.relay.environment["RELAY_REDIS_URL"]))
    with recording(app, stack.relay) as events:
        yield events
    app.close()


def adopted(stack: Stack, execution_id: str) -> bool:
    return "execution.adopted" in [kind for kind, _ in stack.events(execution_id)]


def test_a_run_whose_worker_was_killed_is_one_task_with_its_whole_runtime(stack: Stack, flower: Flower, events: Events):
    run = stack.relay.submit(stack.repo, numbered(6000))
    agent = stack.agent(run, {"running"})
    flower.shown(agent["id"], "STARTED")
    stack.wait_log(agent["id"], 100)
    stack.relay.kill_9("worker")
    stack.relay.start("worker")
    assert stack.agent(run)["status"] == "completed"
    task = flower.shown(agent["id"], "SUCCESS")
    assert task["runtime"] > 6, "the time from its first start"
    start = ["task-received", "task-started"]
    assert events.of(agent["id"]) == [*start, *start, "task-succeeded"]


def test_terminate_reaches_an_adopted_run(stack: Stack, flower: Flower, events: Events):
    run = stack.relay.submit(stack.repo, "sleep 361", limits={"kill_grace_seconds": 1})
    agent = stack.agent(run, {"running"})
    flower.shown(agent["id"], "STARTED")
    stack.relay.kill_9("worker")
    stack.relay.start("worker")
    stack.relay.until(lambda: adopted(stack, agent["id"]), 30, "adoption")
    stack.relay.until(lambda: events.of(agent["id"]).count("task-started") == 2, 15, "the adopter said so")
    flower.shown(agent["id"], "STARTED")
    flower.revoke(agent["id"], terminate="true")
    ended = stack.agent(run, {"killed"}, 30)
    assert ended["reason"] == "user"
    assert "sleep" not in stack.relay.processes_in(run)
    flower.shown(agent["id"], "REVOKED")
    stack.must_be_whole(agent["id"])


def test_a_terminate_pressed_while_no_worker_of_the_node_lives_is_lost_and_pressed_again_it_works(
    stack: Stack, flower: Flower
):
    """Celery's control is heard by living workers only; the API's kill is what outlasts them."""
    run = stack.relay.submit(stack.repo, "sleep 362", limits={"kill_grace_seconds": 1})
    agent = stack.agent(run, {"running"})
    flower.shown(agent["id"], "STARTED")
    stack.relay.kill_9("worker")
    flower.revoke(agent["id"], terminate="true")
    stack.relay.start("worker")
    stack.relay.until(lambda: adopted(stack, agent["id"]), 30, "adoption")
    assert stack.agent(run, {"running"})["status"] == "running"
    flower.revoke(agent["id"], terminate="true")
    stack.agent(run, {"killed"}, 30)


def test_shutdown_pressed_in_flower_is_an_orderly_end_that_detaches(stack: Stack, flower: Flower):
    run = stack.relay.submit(stack.repo, "sleep 12")
    agent = stack.agent(run, {"running"})
    worker = flower.shown(agent["id"], "STARTED")["worker"]
    assert flower.client.post(f"/api/worker/shutdown/{worker}").status_code == 200
    assert stack.relay.processes["worker"].wait(9) == 0
    assert stack.agent(run, {"running"})["completed_at"] is None
    stack.relay.processes.pop("worker")
    stack.relay.start("worker")
    assert stack.agent(run)["status"] == "completed"
    flower.shown(agent["id"], "SUCCESS")
