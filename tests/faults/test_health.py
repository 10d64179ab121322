"""The health page, metrics and log of a worker, and the report of `relay doctor`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from tests.support.clock_ages import VITAL, clock_ages
from tests.support.fault_stack import Stack
from tests.support.machine import free_port
from tests.support.plain_http import PLAIN
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

SECRET = "swordfish-swordfish"
PROMPT = "a prompt that no log may show"


@pytest.fixture
def served(whole: Stack) -> Iterator[tuple[Relay, str]]:
    """A worker with its page."""
    port = free_port()
    whole.relay.environment["RELAY_WORKER_HTTP_PORT"] = str(port)
    whole.relay.start("worker")
    del whole.relay.environment["RELAY_WORKER_HTTP_PORT"]
    yield whole.relay, f"http://127.0.0.1:{port}"
    whole.relay.kill_9("worker")


WORD = r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]*)'


def parsed(log: str) -> list[dict[str, str]]:
    """The lines of a log as key and value; each of them has to be of this form."""
    lines = []
    for line in log.splitlines():
        assert re.fullmatch(f"{WORD}( {WORD})*", line), line
        lines.append({name: value.strip('"') for name, value in re.findall(WORD, line)})
    return lines


def doctor(relay: Relay, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "relay_cli.main", "doctor", "--json", *words]
    done = subprocess.run(command, env=relay.environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_health_and_metrics_and_logs_of_a_run(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    relay.until(lambda: " ready." in relay.log_of("worker"), what="the worker has printed its banner")
    before = len(relay.log_of("worker"))
    run = relay.submit(whole.repo, "printenv WORD", prompt=PROMPT, env={"WORD": SECRET})
    agent = whole.agent(run)
    assert PLAIN.get(f"{url}/healthz").json() == {"status": "ok", "stuck": [], "degraded": []}
    text = PLAIN.get(f"{url}/metrics").text
    assert 'relay_runs_ended_total{reason="",run_reason="coding_agent",status="completed"}' in text
    assert 'relay_queue_wait_seconds_count{run_reason="clone"}' in text
    assert 'relay_start_seconds_count{run_reason="coding_agent"}' in text
    for name in ("relay_slots_used", "relay_slots_total", "relay_log_store_wait_seconds", "relay_lease_age_seconds"):
        assert f"\n{name} " in text
    assert run["workspace_id"] not in text
    log = relay.log_of("worker")[before:]
    of_agent = [line for line in parsed(log) if line.get("execution_id") == agent["id"]]
    assert [line["event"] for line in of_agent] == ["started", "ended"]
    for line in of_agent:
        assert line["worker"].startswith("w1@node-")
        assert line["node_id"].startswith("node-")
        assert (line["workspace_id"], line["run_reason"]) == (run["workspace_id"], "coding_agent")
        assert line["fence"].isdigit()
    assert SECRET not in log
    assert PROMPT not in log


def test_a_worker_without_its_database_is_stuck_and_without_its_queue_degraded(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    whole.valkey.stop()
    try:
        answer = PLAIN.get(f"{url}/healthz")
        assert (answer.status_code, answer.json()["degraded"]) == (200, ["redis"])
    finally:
        whole.valkey.start()
    whole.postgres.stop()
    try:
        relay.until(lambda: "heartbeat" in PLAIN.get(f"{url}/healthz").json()["stuck"], 90, "the heartbeat is stuck")
        assert PLAIN.get(f"{url}/healthz").status_code == 503
    finally:
        whole.postgres.start()
    relay.until(lambda: PLAIN.get(f"{url}/healthz").status_code == 200, 60, "200 again")


def test_no_clock_that_matters_waits_for_a_queue_that_hangs(served: tuple[Relay, str], whole: Stack):
    """It takes connections and never answers; a run ends meanwhile, and an orphan is found."""
    relay, url = served
    run = relay.submit(whole.repo, "touch changed; sleep 3", cleanup_script="true")
    whole.agent(run, {"running"})
    server = psutil.Process(whole.valkey._process.pid)
    server.suspend()
    try:
        whole.agent(run, {"completed"})
        with relay.database.begin() as connection:  # due at once: the clock of messages has something to send
            connection.execute(
                text("UPDATE execution_processes SET published_at = now() - interval '1 hour' WHERE status = 'queued'")
            )
        relay.until(lambda: clock_ages(url)["messages"] > 9, 40, "the clock of messages waits")
        assert {name: age for name, age in clock_ages(url).items() if name in VITAL and age > 8} == {}
        answer = PLAIN.get(f"{url}/healthz")
        assert (answer.status_code, answer.json()["stuck"]) == (200, [])
    finally:
        server.resume()
    assert [step["status"] for step in relay.wait_chain(run, 90)] == ["completed"] * 3


def test_metrics_tell_slots_in_use(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    used = lambda: re.search(r"\nrelay_slots_used (\S+)", PLAIN.get(f"{url}/metrics").text)[1]  # noqa: E731
    relay.until(lambda: used() == "0.0", what="an idle worker")
    run = relay.submit(whole.repo, "sleep 1000", limits={"kill_grace_seconds": 0})
    agent = whole.agent(run, {"running"})
    relay.until(lambda: used() == "1.0", what="one slot in use")
    relay.kill(agent["id"])
    whole.agent(run, {"killed"})
    relay.until(lambda: used() == "0.0", what="a slot that is free again")


def test_a_worker_whose_database_hangs_is_stuck(served: tuple[Relay, str], whole: Stack):
    relay, url = served
    main = psutil.Process(whole.postgres._process.pid)
    frozen = [main, *main.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        relay.until(lambda: PLAIN.get(f"{url}/healthz").status_code == 503, 90, "503")
    finally:
        for process in frozen:
            process.resume()
    relay.until(lambda: PLAIN.get(f"{url}/healthz").status_code == 200, 60, "200 again")


def test_a_port_that_is_taken_ends_the_start_with_one_line(served: tuple[Relay, str]):
    relay, url = served
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "relay_workers"]
    environment = relay.environment | {"RELAY_WORKER_HTTP_PORT": port}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"relay worker: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in done.stderr


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


@pytest.mark.parametrize(
    ("away", "still"), [("valkey", {"engine", "disk", "schema"}), ("postgres", {"engine", "disk", "redis"})]
)
def test_the_doctor_says_which_service_is_away_and_looks_at_the_others(whole: Stack, away: str, still: set[str]):
    server = getattr(whole, away)
    server.stop()
    try:
        code, found = doctor(whole.relay, "--fix")
    finally:
        server.start()
    assert code == 1
    (error,) = [one for one in found["checks"] if one["level"] == "error"]
    assert error["check"] == {"valkey": "redis", "postgres": "database"}[away]
    assert still <= {one["check"] for one in found["checks"] if one["level"] == "ok"}
    if away == "postgres":
        assert found["fixed"][-1].startswith("cannot go on: ")
