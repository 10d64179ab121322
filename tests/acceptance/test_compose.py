"""The fleet of docker-compose.yml, from the distribution's packages: built, brought up with three workers, used, ended."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay_stack.images.build import own_ca_bundle
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program
from tests.support.machine import engine, free_port, remove_containers, remove_networks
from tests.support.plain_http import PLAIN
from tests.support.relay import git, make_repo
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SHIPPED = ("Dockerfile", ".dockerignore", "docker-compose.yml", "docker-compose.distribution.yml", "pyproject.toml")
SHIPPED += ("requirements.lock", "README.md", "LICENSE", "build_backend", "src", "deploy", "scripts")
WORKERS = 3


@dataclass
class Fleet:
    """A running fleet."""

    folder: Path
    project: str
    environment: dict[str, str]
    compose: list[str]

    def __call__(self, *words: str) -> str:
        files = ("docker-compose.yml", "docker-compose.distribution.yml", "docker-compose.test.yml")
        options = [option for file in files for option in ("-f", file)]
        command = [*self.compose, *options, *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str) -> list[Any]:
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        return engine().containers.list(filters={"label": labels})


def compose_program(logs: Path) -> list[str]:
    """Compose as a plugin of docker, or as a program of its own; the distribution's where there is neither."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if program("docker-compose") is None:
        install(["docker-compose"], needed_by="the test of the fleet", consent=Consent(yes=True), log_folder=logs)
    found = program("docker-compose")
    assert found
    return [found]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    folder.chmod(0o755)
    for name in SHIPPED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)  # type: ignore[operator]
    if own_ca := own_ca_bundle():
        shutil.copy(own_ca, folder / "ca-bundle.crt")
    project = f"relaytest{os.getpid()}"
    network = f"{project}-work"
    data = folder / "data"
    data.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    environment |= {
        "RELAY_DATA_DIR": str(data),
        "RELAY_API_PORT": str(free_port()),
        "RELAY_FLOWER_PORT": str(free_port()),
        "RELAY_GIT_ALLOW_HTTP": "true",
        "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
        "COMPOSE_PROJECT_NAME": project,
    }
    more = {"services": {"worker": {"environment": {"RELAY_CONTAINER_NETWORK": network}}}}
    (folder / "docker-compose.test.yml").write_text(json.dumps(more))
    fleet = Fleet(folder, project, environment, compose_program(folder))
    subprocess.run([folder / "scripts" / "compose-env"], env=environment, check=True)
    client = engine()
    try:
        fleet("build")
        fleet("up", "-d", "--scale", f"worker={WORKERS}")
        yield fleet
    finally:
        fleet("down", "--volumes", "--remove-orphans")
        if (data / "node_id").exists():
            remove_containers(client, f"relay.node_id={(data / 'node_id').read_text().strip()}")
        remove_networks(client, network)


@pytest.fixture(scope="module")
def api(fleet: Fleet) -> Iterator[httpx.Client]:
    url = f"http://127.0.0.1:{fleet.environment['RELAY_API_PORT']}"
    eventually(lambda: answers(url), seconds=120)
    words = ("relay", "token", "create", "operator", "--owner", "operator", "--scope", "admin", "--database", "--json")
    token = json.loads(fleet("exec", "-T", "api", *words))["token"]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


def answers(url: str) -> bool:
    try:
        return PLAIN.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def remote(fleet: Fleet) -> Iterator[str]:
    """A git remote that the workers reach by the fleet's own network."""
    origin = make_repo(fleet.folder / "origin", {"README.md": "# sample\n"})
    git("clone", "-q", "--bare", str(origin), str(fleet.folder / "sample.git"), cwd=fleet.folder)
    git("update-server-info", cwd=fleet.folder / "sample.git")
    client = engine()
    server = client.containers.run(
        "relay:local",
        ["python", "-m", "http.server", "--directory", "/srv", "8000"],
        name=f"{fleet.project}-remote",
        hostname="remote",
        network=f"{fleet.project}_default",
        volumes={str(fleet.folder): {"bind": "/srv", "mode": "ro"}},
        detach=True,
    )
    yield f"http://{fleet.project}-remote:8000/sample.git"
    server.remove(force=True)


def test_a_job_runs_through_the_fleet(api: httpx.Client, remote: str):
    first = {"url": remote, "setup_script": "echo set up", "cleanup_script": "echo clean"}
    body = {"repos": [first], "prompt": "p", "executor": {"name": "shell", "command": "echo made >made.txt"}}
    made = api.post("/v1/runs", json=body)
    assert made.status_code == 202, made.text
    run = made.json()
    eventually(lambda: api.get(f"/v1/tasks/{run['task_id']}").json()["status"] == "inreview", seconds=120)
    steps = api.get(f"/v1/workspaces/{run['workspace_id']}/executions").json()["items"]
    ends = {step["run_reason"]: (step["status"], step["error_reason"]) for step in steps}
    assert ends == dict.fromkeys(("clone", "setup_script", "coding_agent", "cleanup_script"), ("completed", None))
    assert "made.txt" in api.get(f"/v1/workspaces/{run['workspace_id']}/diff?format=patch").text


def test_the_workers_are_one_node_with_stable_names(fleet: Fleet, api: httpx.Client):
    eventually(lambda: len(ready_names(fleet)) == WORKERS, seconds=120)
    (node,) = api.get("/v1/nodes").json()["items"]
    assert ready_names(fleet) == {f"w{number}@{node['node_id']}" for number in range(1, WORKERS + 1)}


def ready_names(fleet: Fleet) -> set[str]:
    lines = fleet("logs", "--no-color", "worker").splitlines()
    return {line.split('event="')[1].split(" ")[0] for line in lines if ' ready."' in line}


def test_only_workers_hold_the_engine_and_nothing_but_api_and_flower_is_published(fleet: Fleet):
    for service in ("postgres", "redis", "api", "flower", "worker"):
        for container in fleet.containers(service):
            mounts = [mount["Destination"] for mount in container.attrs["Mounts"]]
            assert ("/var/run/docker.sock" in mounts) == (service == "worker"), service
            bound = [one for ports in container.ports.values() for one in ports or []]
            assert bool(bound) == (service in {"api", "flower"}), service
            assert all(one["HostIp"] == "127.0.0.1" for one in bound)


def test_flower_asks_for_a_password(fleet: Fleet):
    url = f"http://127.0.0.1:{fleet.environment['RELAY_FLOWER_PORT']}/"
    eventually(lambda: answers_at_all(url), seconds=120)
    assert PLAIN.get(url).status_code == 401


def answers_at_all(url: str) -> bool:
    try:
        PLAIN.get(url)
    except httpx.TransportError:
        return False
    return True


def test_passwords_are_made_once(fleet: Fleet):
    words = (fleet.folder / ".env").read_text()
    again = subprocess.run([fleet.folder / "scripts" / "compose-env"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert (fleet.folder / ".env").read_text() == words
    assert (fleet.folder / ".env").stat().st_mode & 0o077 == 0
