"""Flower shows a run as one task from start to end, whatever happens to its messages.

This guards the private parts of Celery that `relay_workers.celery.tasks` builds on (docs/adr/0003-celery.md).
"""

import ast
import base64
import re
from uuid import UUID

import httpx
import pytest
from redis import Redis

from relay_core.domain.message import QueueMessage, node_queue
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.dispatcher import send
from tests.support.flower import PASSWORD, Events, Flower, celery_id, closed
from tests.support.relay import Relay

pytestmark = pytest.mark.docker


def dispatch(app, node_id, execution):
    """One more copy of the message of a run, as a sweep or a broker would deliver it."""
    send(app, QueueMessage(UUID(execution["id"]), 1, RunReason(execution["run_reason"]), "default", node_id))


def dispatch_fifty_times(app, node_id, execution):
    for _ in range(50):
        dispatch(app, node_id, execution)


def agent_repo(relay, run):
    return relay.get(f"/v1/workspaces/{run['workspace_id']}")["repos"][0]["url"]


def test_a_run_is_one_task_from_start_to_end(relay: Relay, repo, flower: Flower, events: Events):
    run = relay.submit(repo, "sleep 3; echo more >> notes.txt", title="Sleep a little")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    task = flower.shown(agent["id"], "STARTED")
    assert task["name"] == "relay.coding_agent"
    relay.wait_chain(run)
    done = flower.shown(agent["id"], "SUCCESS")
    assert done["runtime"] > 2.5
    assert "sleep" not in str(done), "a message carries ids only"
    assert (done["args"], done["parent_id"]) == (f"('{agent['id']}', 1)", None)
    shown = {"title": "Sleep a little", "repository": str(repo), "workspace": run["workspace_id"], "run": run["run_id"]}
    assert ast.literal_eval(done["kwargs"]) == {**shown, "repository": agent_repo(relay, run)}
    link = f"{relay.api_url}/runs/{run['run_id']}"
    assert done["result"] == f"completed, 1 file +1 -0, {link}"
    page = flower.client.get(f"/task/{celery_id(agent['id'])}").text
    assert f'<a href="{link}"' in page
    for words in (agent["id"], "Sleep", run["workspace_id"], run["run_id"]):
        assert celery_id(agent["id"]) in flower.client.get("/api/tasks", params={"search": words}).json(), words
    relay.until(lambda: "task-succeeded" in events.of(agent["id"]))
    assert events.of(agent["id"]) == ["task-received", "task-started", "task-succeeded"]


def test_a_failed_run_is_a_failure_without_a_traceback(relay: Relay, repo, flower: Flower, events: Events):
    steps = relay.wait_chain(relay.submit(repo, "exit 3"))
    task = flower.shown(steps[-1]["id"], "FAILURE")
    assert "exit code 3" in task["exception"]
    assert task["runtime"] > 0
    assert task["result"].startswith("failed, ")
    assert task["traceback"] is None
    assert events.of(steps[-1]["id"]) == ["task-received", "task-started", "task-failed"]


@pytest.mark.parametrize("when", ["before it starts", "while it runs"])
def test_fifty_copies_change_nothing_and_terminate_still_reaches_the_run(
    relay: Relay, repo, flower: Flower, events: Events, celery_app, when
):
    node = (relay.data_dir / "node_id").read_text().strip()
    with closed(celery_app, node_queue(node)):
        run = relay.submit(repo, "sleep 344", limits={"kill_grace_seconds": 1})
        agent = relay.wait_step(run, "coding_agent", {"queued", "running"})
        if when == "before it starts":  # almost always: the worker opens a closed queue for a moment at each tick
            dispatch_fifty_times(celery_app, node, agent)
    relay.wait_step(run, "coding_agent", {"running"})
    flower.shown(agent["id"], "STARTED")
    if when == "while it runs":
        dispatch_fifty_times(celery_app, node, agent)
    relay.wait_chain(relay.submit(repo, "true"))  # its steps on this node come after the copies
    refused = [line for line in relay.log_of("worker").splitlines() if "not claimed" in line and agent["id"] in line]
    if when == "while it runs":
        assert refused == [], "dropped before they were reserved"
    assert flower.task(agent["id"])["state"] == "STARTED"
    active = celery_app.control.inspect(timeout=10, limit=1).active()
    assert [one["id"] for tasks in active.values() for one in tasks] == [celery_id(agent["id"])]
    assert events.of(agent["id"]) == ["task-received", "task-started"]
    [answer] = celery_app.control.revoke(celery_id(agent["id"]), terminate=True, reply=True, timeout=5, limit=1)
    assert celery_id(agent["id"]) in str(answer)
    relay.wait_step(run, "coding_agent", {"killed"}, 30)
    flower.shown(agent["id"], "REVOKED")
    assert events.of(agent["id"]) == ["task-received", "task-started", "task-revoked"]


def test_a_copy_at_another_worker_leaves_no_trace(
    relay: Relay, repo, flower: Flower, events: Events, celery_app, second_node
):
    run = relay.submit(repo, "sleep 20")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    owner = flower.shown(agent["id"], "STARTED")["worker"]
    other = second_node()
    for _ in range(5):
        dispatch(celery_app, other.partition("@")[2], agent)
    log = relay.root / "second.log"
    refused = lambda: log.read_text().count("not claimed") == 5  # noqa: E731
    relay.until(refused, 30, "the other worker refused the copies")
    assert flower.task(agent["id"])["state"] == "STARTED"
    assert flower.task(agent["id"])["worker"] == owner
    relay.wait_chain(run)
    assert flower.shown(agent["id"], "SUCCESS")["worker"] == owner
    dispatch(celery_app, other.partition("@")[2], agent)
    relay.until(lambda: log.read_text().count("not claimed") == 6, 30, "a copy after the end was refused")
    assert events.of(agent["id"], host=other) == []
    assert events.of(agent["id"]) == ["task-received", "task-started", "task-succeeded"]
    assert flower.task(agent["id"])["state"] == "SUCCESS"


def test_a_restart_of_flower_keeps_what_runs_and_its_buttons(relay: Relay, repo, flower: Flower):
    run = relay.submit(repo, "sleep 346", limits={"kill_grace_seconds": 1})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    flower.shown(agent["id"], "STARTED")
    flower.stop()
    flower.start()
    flower.shown(agent["id"], "STARTED")
    flower.revoke(agent["id"], terminate="true")
    relay.wait_step(run, "coding_agent", {"killed"}, 30)
    flower.shown(agent["id"], "REVOKED")


def test_nothing_secret_is_shown(relay: Relay, repo, flower: Flower, events: Events, celery_app):
    value, prompt = "the-value-of-a-secret", "a prompt that nobody else need read"
    run = relay.submit(repo, "sleep 2", prompt=prompt, env={"TOKEN": {"value": value, "secret": True}})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    worker = flower.shown(agent["id"], "STARTED")["worker"]
    relay.wait_chain(run)
    paths = [
        *("/", "/workers", f"/worker/{worker}", "/tasks", f"/task/{celery_id(agent['id'])}", "/broker", "/metrics"),
        *("/api/workers?refresh=true", "/api/tasks", "/api/task/types", "/api/queues/length"),
        f"/api/task/info/{celery_id(agent['id'])}",
    ]
    shown = ""
    for path in paths:
        answer = flower.client.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        shown += answer.text
    inspect = celery_app.control.inspect(timeout=10, limit=1)
    assert inspect.stats(), "an answer that Redis cannot carry is none"
    shown += repr([inspect.conf(), inspect.report(), inspect.stats(), inspect.active(), inspect.registered()])
    shown += events.text()
    assert "visibility_timeout" in shown, "the worker's configuration is among it"
    secrets = [value, prompt, PASSWORD, relay.token, *passwords(relay)]
    assert [secret for secret in secrets if secret in shown] == []


def passwords(relay: Relay):
    urls = [relay.environment["RELAY_DATABASE_URL"], relay.environment["RELAY_REDIS_URL"]]
    found = [match[1] for url in urls if (match := re.search(r"://[^:/@]*:([^@]+)@", url))]
    assert Redis.from_url(urls[1]).connection_pool.connection_kwargs["password"] in found
    return found


def test_metrics_tell_hours_apart(flower: Flower):
    assert 'le="28800.0"' in flower.client.get("/metrics").text


def test_flower_is_framed_by_nobody_and_tells_strangers_nothing(flower: Flower):
    page = flower.client.get("/workers")
    assert page.status_code == 200
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert flower.client.get("/metrics").status_code == 200
    with httpx.Client(base_url=flower.url, timeout=10) as stranger:
        assert stranger.get("/metrics").status_code == 401
        assert stranger.get("/healthcheck").status_code == 200
        credentials = base64.b64encode("jürgen:geheim".encode()).decode()
        refused = stranger.get("/workers", headers={"Authorization": f"Basic {credentials}"})
        assert (refused.status_code, "Traceback" in refused.text) == (401, False)
