"""Terminate and Revoke, from Flower's own page, its API and the command line, are kills of the execution."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from playwright.sync_api import expect

from relay_core.domain.message import QueueMessage
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.dispatcher import send
from tests.support.browser_fixtures import chromium
from tests.support.flower import PASSWORD, USER, Events, Flower, celery_id
from tests.support.relay import Relay

pytestmark = pytest.mark.docker


def started(relay, repo, flower, seconds):
    """A running agent that sleeps so long; Flower shows it."""
    run = relay.submit(repo, f"sleep {seconds}", limits={"kill_grace_seconds": 1})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    flower.shown(agent["id"], "STARTED")
    relay.until(lambda: f"sleep {seconds}" in relay.processes_in(run))
    return run, agent["id"]


def killed_by_user(relay, run, execution_id):
    relay.wait_step(run, "coding_agent", {"killed"}, 30)
    ended = relay.get(f"/v1/executions/{execution_id}")
    assert (ended["status"], ended["reason"]) == ("killed", "user")
    assert "sleep" not in relay.processes_in(run)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def test_terminate_pressed_in_flowers_page(relay: Relay, repo, flower: Flower, browser):
    run, agent = started(relay, repo, flower, 347)
    page = browser.new_context(http_credentials={"username": USER, "password": PASSWORD}).new_page()
    page.goto(f"{flower.url}/tasks")
    page.get_by_role("link", name=celery_id(agent)).click()
    expect(page.locator(".task-details-card")).to_contain_text("relay.coding_agent")
    with page.expect_response("**/api/task/revoke/**") as answer:
        page.get_by_role("button", name="Terminate").click()
    assert answer.value.status == 200
    killed_by_user(relay, run, agent)
    flower.shown(agent, "REVOKED")
    page.reload()
    expect(page.locator(".task-details-card")).to_contain_text("REVOKED")
    expect(page.get_by_role("button", name="Terminate")).to_have_count(0)
    page.context.close()


def test_a_stranger_presses_nothing(relay: Relay, repo, flower: Flower, browser):
    run, agent = started(relay, repo, flower, 348)
    page = browser.new_context().new_page()
    assert page.goto(f"{flower.url}/task/{celery_id(agent)}").status == 401
    assert page.request.post(f"{flower.url}/api/task/revoke/{celery_id(agent)}?terminate=true").status == 401
    page.context.close()
    assert relay.get(f"/v1/executions/{agent}")["status"] == "running"
    relay.kill(agent)
    killed_by_user(relay, run, agent)


def test_terminate_on_the_command_line(relay: Relay, repo, flower: Flower):
    run, agent = started(relay, repo, flower, 349)
    celery = [sys.executable, "-m", "celery", "-A", "relay_core.queue.celery_app:app"]
    words = [*celery, "control", "terminate", "SIGTERM", celery_id(agent)]
    done = subprocess.run(words, env=relay.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert celery_id(agent) in done.stdout
    killed_by_user(relay, run, agent)
    flower.shown(agent, "REVOKED")


def test_a_revoke_without_terminate_leaves_what_runs(relay: Relay, repo, flower: Flower):
    run, agent = started(relay, repo, flower, 3)
    flower.revoke(agent)
    assert relay.wait_chain(run)[-1]["status"] == "completed"
    flower.shown(agent, "SUCCESS")


@contextmanager
def drained(relay: Relay) -> Iterator[None]:
    """The node takes no new workspaces in the block, so its worker leaves the messages of the pool in their queue."""
    path = f"/v1/nodes/{(relay.data_dir / 'node_id').read_text().strip()}"
    stops = "consumes a queue no more"
    before = relay.log_of("worker").count(stops)
    relay.http.post(f"{path}/drain").raise_for_status()
    try:
        relay.until(lambda: relay.log_of("worker").count(stops) > before, 30, "the pool's queue is closed")
        yield
    finally:
        relay.http.post(f"{path}/undrain").raise_for_status()


@pytest.mark.parametrize("how", ["revoke", "terminate", "api"])
def test_a_message_that_waits_in_the_queue(relay: Relay, repo, flower: Flower, events: Events, celery_app, how):
    with drained(relay):
        run = relay.submit(repo, "true")
        clone = run["execution_id"]
        send(celery_app, QueueMessage(UUID(clone), 1, RunReason.CLONE, "default", None))
        flower.shown(clone, "PENDING")
        if how == "api":
            relay.kill(clone)
        else:
            flower.revoke(clone, **({"terminate": "true"} if how == "terminate" else {}))
        relay.wait_step(run, "clone", {"killed"}, 15)
        ended = relay.get(f"/v1/executions/{clone}")
        assert (ended["status"], ended["reason"], ended["started_at"]) == ("killed", "user", None)
        if how != "api":
            flower.shown(clone, "REVOKED")

    def refused() -> bool:
        return any("not claimed" in line and clone in line for line in relay.log_of("worker").splitlines())

    relay.until(refused, 30, "the message was refused by the row")
    flower.shown(clone, "REVOKED")
    assert set(events.of(clone)) == {"task-revoked"}
    assert [item["status"] for item in relay.executions(run)] == ["killed"], "nothing follows"


def test_a_step_that_waits_behind_another(relay: Relay, repo, flower: Flower):
    run, agent = started(relay, repo, flower, 350)
    body = {"run_reason": "cleanup_script", "script": "echo never"}
    queued = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
    flower.revoke(queued)
    relay.until(lambda: relay.get(f"/v1/executions/{queued}")["status"] == "killed", 15)
    assert relay.get(f"/v1/executions/{agent}")["status"] == "running"
    flower.revoke(agent, terminate="true")
    killed_by_user(relay, run, agent)


def test_nonsense_is_survived(relay: Relay, repo, flower: Flower, celery_app):
    answer = celery_app.control.revoke(["nonsense", "; drop table"], terminate=True, reply=True, timeout=5, limit=1)
    assert "ok" in str(answer)
    run, agent = started(relay, repo, flower, 351)
    flower.revoke(agent, terminate="true")
    killed_by_user(relay, run, agent)
