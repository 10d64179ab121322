"""What a worker says of itself, to supervisors, to Prometheus and in its log; and what the doctor says of all."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Relay, free_port
from tests.faults.conftest import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

SECRET = "swordfish-swordfish"
PROMPT = "a prompt that nobody has to know"


@pytest.fixture
def served(whole: Stack) -> Iterator[tuple[Relay, str]]:
    """A worker with its page."""
    port = free_port()
    whole.relay.environment["RELAY_WORKER_HTTP_PORT"] = str(port)
    whole.relay.start("worker")
    del whole.relay.environment["RELAY_WORKER_HTTP_PORT"]
    yield whole.relay, f"http://127.0.0.1:{port}"
    whole.relay.kill_9("worker")


def doctor(relay: Relay, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "relay_cli.main", "doctor", "--json", *words]
    done = subprocess.run(command, env=relay.environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_health_and_metrics_and_logs_of_a_run(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    before = len(relay.log_of("worker"))
    run = relay.submit(whole.repo, "printenv WORD", prompt=PROMPT, env={"WORD": SECRET})
    agent = whole.agent(run)
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok", "stuck": [], "degraded": []}
    text = httpx.get(f"{url}/metrics").text
    assert 'relay_runs_ended_total{reason="",run_reason="coding_agent",status="completed"}' in text
    assert 'relay_queue_wait_seconds_count{run_reason="clone"}' in text
    assert 'relay_start_seconds_count{run_reason="coding_agent"}' in text
    assert run["workspace_id"] not in text
    log = relay.log_of("worker")[before:]
    (ended,) = [line for line in log.splitlines() if "event=ended" in line and agent["id"] in line]
    for word in ("worker=w1@", "node_id=node-", f"workspace_id={run['workspace_id']}", "run_reason=coding_agent"):
        assert word in ended
    assert SECRET not in log
    assert PROMPT not in log


def test_a_worker_without_its_database_is_stuck_and_without_its_queue_degraded(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    whole.valkey.stop()
    try:
        answer = httpx.get(f"{url}/healthz")
        assert (answer.status_code, answer.json()["degraded"]) == (200, ["redis"])
    finally:
        whole.valkey.start()
    whole.postgres.stop()
    try:
        relay.until(lambda: httpx.get(f"{url}/healthz").status_code == 503, 90, "503")
        assert "heartbeat" in httpx.get(f"{url}/healthz").json()["stuck"]
    finally:
        whole.postgres.start()
    relay.until(lambda: httpx.get(f"{url}/healthz").status_code == 200, 60, "200 again")


def test_the_doctor_tells_what_a_sweep_would_do_and_does_it_when_asked(stack: Stack):
    code, healthy = doctor(stack.relay)
    assert code == 0, healthy
    assert {"schema", "clock", "queue", "disk", "node", "engine", "image"} <= {
        one["check"] for one in healthy["checks"]
    }
    run = stack.relay.submit(stack.repo, "sleep 1000", limits={"kill_grace_seconds": 0})
    agent = stack.agent(run, {"running"})
    idle = stack.relay.submit(stack.repo)
    stack.relay.wait_chain(idle)
    stack.relay.kill_9("worker")
    stack.relay.container(idle).remove(force=True)
    _, found = doctor(stack.relay)
    told = {one["check"]: one["message"] for one in found["checks"] if one["level"] == "warning"}
    assert agent["id"] in told["orphan"]
    assert idle["workspace_id"] in told["container_vanished"]
    _, mended = doctor(stack.relay, "--fix")
    assert any("container_vanished" in line for line in mended["fixed"])
    assert stack.relay.get(f"/v1/workspaces/{idle['workspace_id']}")["state"] == "failed"
    stack.relay.start("worker")
    stack.relay.kill(agent["id"])
    stack.agent(run, {"killed"})


def test_the_doctor_says_which_service_is_away(whole: Stack):
    whole.valkey.stop()
    try:
        code, found = doctor(whole.relay)
    finally:
        whole.valkey.start()
    assert code == 1
    (error,) = [one for one in found["checks"] if one["level"] == "error"]
    assert error["check"] == "redis"
