"""An engine that goes away and comes back, and two engines that are two nodes."""

import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
import requests

from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.docker.failure import start_was_interrupted
from tests.support.clock_ages import VITAL, clock_ages
from tests.support.fault_stack import Stack, fault_relay, lines, numbered
from tests.support.machine import free_port
from tests.support.own_engine import OwnEngine
from tests.support.plain_http import PLAIN
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def own_engine() -> Iterator[OwnEngine]:
    root = Path(tempfile.mkdtemp(prefix="relay-"))
    engine = OwnEngine(root)
    engine.start()
    engine.load_images()
    yield engine
    engine.end()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def there(own_engine: OwnEngine, whole: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A node on the own engine, beside the API of the stack; only its worker is to be started here."""
    root = tmp_path_factory.mktemp("node")
    relay = fault_relay(root, whole.postgres, whole.valkey)
    relay.environment["RELAY_API_PORT"] = whole.relay.environment["RELAY_API_PORT"]
    relay.environment["RELAY_DOCKER_HOST"] = own_engine.host
    relay.http = whole.relay.http
    yield relay
    for name in list(relay.processes):
        relay.kill_9(name)
    print(relay.log_of("worker")[-8000:])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restarted", "killed"])
def test_dockerd_goes_and_comes_back_under_a_run(
    there: Relay, own_engine: OwnEngine, whole: Stack, how: signal.Signals
):
    there.start("worker")
    run = there.submit(whole.repo, f"touch changed; {numbered(6000)}", cleanup_script="echo after")
    agent = whole.agent(run, {"running"})
    whole.wait_log(agent["id"], 100)
    own_engine.end_dockerd(how)
    time.sleep(8)  # the process ends meanwhile: its end, its leftovers and git's evidence wait for the engine
    own_engine.start()
    steps = there.wait_chain(run, 120)
    assert [step["status"] for step in steps] == ["completed"] * 3
    assert there.log(agent["id"], "stdout") == lines(6000)
    assert steps[1]["repo_states"][0]["after_head_commit"] is not None
    assert steps[1]["repo_states"][0]["problem"] is None
    whole.must_be_whole(agent["id"])


def test_no_clock_that_matters_waits_for_an_engine_that_is_away(there: Relay, own_engine: OwnEngine, whole: Stack):
    """A stop is asked for meanwhile: it waits, and nothing else does."""
    port = free_port()
    there.environment["RELAY_WORKER_HTTP_PORT"] = str(port)
    there.start("worker")
    run = there.submit(whole.repo, "true")
    there.wait_chain(run)
    own_engine.end_dockerd(signal.SIGTERM)
    try:
        stop = there.http.post(f"/v1/workspaces/{run['workspace_id']}/stop")
        assert stop.status_code == 202, stop.text
        url = f"http://127.0.0.1:{port}"
        there.until(lambda: clock_ages(url)["engine"] > 9, 40, "the clock of the engine waits")
        assert {name: age for name, age in clock_ages(url).items() if name in VITAL and age > 8} == {}
        assert clock_ages(url)["messages"] < 8
        assert PLAIN.get(f"{url}/healthz").status_code == 200
    finally:
        own_engine.start()
    workspace = f"/v1/workspaces/{run['workspace_id']}"
    there.until(lambda: there.get(workspace)["state"] == "stopped", 60, "the stop")


def test_two_engines_are_two_nodes(there: Relay, stack: Stack):
    """Placement on a node with free capacity, affinity of a workspace, and the loss of one node."""
    there.start("worker")
    nodes: dict[str, dict[str, str]] = {}
    for _ in range(20):
        run = stack.relay.submit(stack.repo, "true")
        stack.relay.wait_chain(run)
        nodes.setdefault(stack.relay.get(f"/v1/workspaces/{run['workspace_id']}")["node_id"], run)
        if len(nodes) == 2:
            break
    here_id, there_id = ((relay.data_dir / "node_id").read_text().strip() for relay in (stack.relay, there))
    assert set(nodes) == {here_id, there_id}
    for node_id, run in nodes.items():
        body = {"run_reason": "setup_script", "script": "sleep 1000" if node_id == there_id else "echo here"}
        added = stack.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()
        stack.relay.wait_step(run, "setup_script", {"running", "completed"})
        assert stack.relay.get(f"/v1/executions/{added['id']}")["node_id"] == node_id, "a workspace stays where it is"
    there.kill_9("worker")
    lost = stack.relay.wait_step(nodes[there_id], "setup_script", {"failed"}, 60)
    assert lost["reason"] == "node_lost"
    stack.must_be_whole(lost["id"])
    here = stack.relay.wait_step(nodes[here_id], "setup_script", {"completed"})
    assert here["reason"] is None
    liveness = {node["node_id"]: node["liveness"] for node in stack.relay.get("/v1/nodes")["items"]}
    assert (liveness[here_id], liveness[there_id]) == ("online", "offline")


def test_a_container_whose_start_died_with_dockerd_is_started(own_engine: OwnEngine):
    """Found by bench.chaos: containerd keeps the task of that start, and dockerd refuses each later one."""
    container_id = interrupted_start(own_engine)
    engine = DockerContainers(docker.APIClient(base_url=own_engine.host))
    engine.restart(container_id)
    assert engine.inspect(container_id).running
    engine.remove(container_id)


def interrupted_start(own_engine: OwnEngine) -> str:
    """A container that dockerd refuses to start; the moment of the kill decides, so it may take several."""
    for _ in range(12):
        api = own_engine.client().api
        made = api.create_container(
            "relay-base:latest", ["sleep", "600"], host_config=api.create_host_config(network_mode="none")
        )["Id"]
        starting = threading.Thread(target=start_quietly, args=(api, made))
        starting.start()
        time.sleep(random.uniform(0.1, 0.4))  # the moment is the fault's own
        own_engine.end_dockerd(signal.SIGKILL)
        starting.join()
        own_engine.start()
        api = own_engine.client().api
        try:
            api.start(made)
        except docker.errors.APIError as error:
            if start_was_interrupted(str(error.explanation)):
                return made
        api.remove_container(made, force=True)
    raise AssertionError("no start was interrupted")


def start_quietly(api: docker.APIClient, container_id: str) -> None:
    with suppress(docker.errors.DockerException, requests.RequestException):
        api.start(container_id)
