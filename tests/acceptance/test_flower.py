"""Flower shows a run as one task from start to end, and its Terminate ends the container's process.

This guards the private parts of Celery that `relay_workers.tasks` builds on (docs/adr/0003-celery.md).
"""

import subprocess
import sys
from uuid import UUID

import httpx
import pytest

from relay_core.domain.doorbell import task_id
from tests.acceptance.conftest import Relay, free_port

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def flower(relay: Relay):
    """Flower beside the session's Relay; a client of its API."""
    port = free_port()
    words = ["-A", "relay_core.celery_app:app", "flower", "--address=127.0.0.1", f"--port={port}"]
    environment = {**relay.environment, "FLOWER_BASIC_AUTH": "someone:secret"}
    with (relay.root / "flower.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "celery", *words], env=environment, stdout=log, stderr=log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("someone", "secret"), timeout=10)

    def knows_the_worker():
        try:
            return any(client.get("/api/workers", params={"refresh": "true"}).json())
        except (httpx.TransportError, ValueError):
            return False

    relay.until(knows_the_worker, 60, "Flower knows the worker")
    yield client
    process.terminate()
    process.wait(20)


def shown(relay, flower, execution_id, states):
    path = f"/api/task/info/{task_id(UUID(execution_id), 1)}"

    def look():
        answer = flower.get(path)
        return answer.json() if answer.status_code == 200 and answer.json()["state"] in states else None

    return relay.until(look, 30, f"Flower shows {states}")


def test_a_run_is_one_task_from_start_to_end(relay: Relay, repo, flower):
    run = relay.submit(repo, "sleep 3")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    task = shown(relay, flower, agent["id"], {"STARTED"})
    assert task["name"] == "relay.coding_agent"
    relay.wait_chain(run)
    done = shown(relay, flower, agent["id"], {"SUCCESS"})
    assert done["runtime"] > 2.5
    assert "sleep" not in str(done), "a message carries ids only"


def test_a_failed_run_is_a_failure_without_a_traceback(relay: Relay, repo, flower):
    steps = relay.wait_chain(relay.submit(repo, "exit 3"))
    task = shown(relay, flower, steps[-1]["id"], {"FAILURE"})
    assert "exit code 3" in task["exception"]


def test_terminate_ends_the_process_and_both_sides_say_so(relay: Relay, repo, flower):
    run = relay.submit(repo, "sleep 345", limits={"kill_grace_seconds": 1})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    shown(relay, flower, agent["id"], {"STARTED"})
    relay.until(lambda: "sleep 345" in relay.processes_in(run))
    answer = flower.post(f"/api/task/revoke/{task_id(UUID(agent['id']), 1)}", params={"terminate": "true"})
    assert answer.status_code == 200
    relay.wait_step(run, "coding_agent", {"killed"}, 30)
    ended = relay.get(f"/v1/executions/{agent['id']}")
    assert (ended["status"], ended["reason"]) == ("killed", "user")
    assert "sleep" not in relay.processes_in(run)
    shown(relay, flower, agent["id"], {"REVOKED"})
