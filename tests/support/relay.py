"""The whole of Relay on real parts: API and worker as processes, Postgres, Valkey, the container engine, git."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import httpx
from sqlalchemy import create_engine, text

from relay_core.store.tokens import create_token
from relay_stack.images.build import own_ca_bundle
from tests.support.machine import engine, free_port, remove_containers, remove_networks
from tests.support.preloaded import PreloadedProcess
from tests.support.rows import ENDED, LOG_SIZE, STATE, STEP, TASK_IN_REVIEW, Rows
from tests.support.waiting import eventually

FINAL = {"completed", "failed", "killed"}
READY = ' ready."'
"""What Celery logs once a worker consumes."""


def git(*words: str, cwd: Path) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Test", f"GIT_{role}_EMAIL": "test@example.org"}
    return subprocess.run(["git", *words], cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout.strip()


def make_repo(path: Path, files: dict[str, str | bytes]) -> Path:
    """A repository with one commit on `main`."""
    path.mkdir(parents=True)
    for name, content in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    git("init", "-q", "-b", "main", ".", cwd=path)
    git("add", "-A", cwd=path)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


class Relay:
    """A running Relay and a client of it."""

    preloads = False
    """Whether API and workers are forked from a process that has their modules, as in the tests, where starts are many."""

    def __init__(self, environment: dict[str, str], root: Path) -> None:
        self.environment = environment
        self.root = root
        self.data_dir = Path(environment["RELAY_DATA_DIR"])
        self.database = create_engine(environment["RELAY_DATABASE_URL"], pool_pre_ping=True)
        self.rows = Rows(self.database)
        self.token = create_token(environment["RELAY_DATABASE_URL"], owner="tester", scopes=["admin"])
        self.processes: dict[str, subprocess.Popen[bytes] | PreloadedProcess] = {}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{environment['RELAY_API_PORT']}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )

    @property
    def api_url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def start(self, name: str) -> None:
        """`api`, `worker` or `worker-…`; returns when it is ready."""
        program = "relay_api" if name == "api" else "relay_workers"
        environment = self.environment if name == "api" else {**self.environment, "RELAY_API_PUBLIC_URL": self.api_url}
        log = self.root / f"{name}.log"
        self.processes[name] = self._launch(program, environment, log)
        before = self.log_of(name).count(READY)
        ready = self._api_answers if name == "api" else lambda: self._worker_is_ready(name, before)
        self.until(ready, seconds=60, what=f"{name} ready")

    def _launch(
        self, program: str, environment: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes] | PreloadedProcess:
        umask = 0o077  # the strictest that a machine may have
        if self.preloads and "LD_PRELOAD" not in environment:  # which takes effect at an exec only
            return PreloadedProcess(program, environment, log, self.root, umask)
        with log.open("ab") as out:
            command = [sys.executable, "-m", program]
            return subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=self.root, umask=umask)

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def log_of(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def _api_answers(self) -> bool:
        self._must_live("api")
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill_9(self, name: str) -> None:
        """Nothing of it gets to say a word; returns when it is gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def _worker_is_ready(self, name: str, before: int) -> bool:
        self._must_live(name)
        return self.log_of(name).count(READY) > before

    def _must_live(self, name: str) -> None:
        code = self.processes[name].poll()
        assert code is None, f"{name} ended with {code}:\n{self.log_of(name)[-4000:]}"

    def until(self, true: Callable[[], Any], seconds: float = 60, what: str = "it", least_pause: float = 0.01) -> Any:
        """Ask again until it is true: the API is the only thing a client can ask."""
        has_log = (self.root / "worker.log").exists
        said = lambda: f"{what}\n{self.log_of('worker')[-6000:] if has_log() else ''}"  # noqa: E731
        return eventually(true, said, seconds, least_pause)

    def until_stored(self, true: Callable[[], Any], stored: str, *, seconds: float, what: str, **values: Any) -> Any:
        """As `until`; the API is asked only once Postgres has the rows without which it cannot answer so.

        Args:
            true: asks the API.
            stored: a statement of tests/support/rows.py.
            seconds: how long to wait.
            what: names the state in the failure.
            values: those of the statement.
        """
        ask = lambda: None if self.rows.deny(stored, **values) else true()  # noqa: E731
        return self.until(ask, seconds, what, least_pause=0.05)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, repo: Path | str, command: str = "true", **more: Any) -> dict[str, Any]:
        """Post a run with the `shell` executor; fields of the first repo may be given by name."""
        of_repo = (
            "target_branch",
            "working_dir",
            "setup_script",
            "setup_as_root",
            "cleanup_script",
            "dev_server_script",
        )
        first = {"url": repo if isinstance(repo, str) else f"file://{repo}"}
        first |= {name: more.pop(name) for name in of_repo if name in more}
        body = {"repos": [first], "prompt": "do it", "executor": {"name": "shell", "command": command}, **more}
        answer = self.http.post("/v1/runs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def executions(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        return self.get(f"/v1/workspaces/{run['workspace_id']}/executions")["items"]

    def wait_chain(self, run: dict[str, Any], seconds: float = 90) -> list[dict[str, Any]]:
        """The executions once the task is in review."""
        done = lambda: self.get(f"/v1/tasks/{run['task_id']}")["status"] == "inreview"  # noqa: E731
        self.until_stored(done, TASK_IN_REVIEW, seconds=seconds, what="the end of the chain", task_id=run["task_id"])
        steps = [self.get(f"/v1/executions/{item['id']}") for item in self.executions(run)]
        for step in [one for one in steps if one["status"] == "failed"]:  # shown with a failure of the test
            print(
                step["run_reason"], step["status"], step["reason"], step["error_reason"], self.log(step["id"])[-2000:]
            )
        return steps

    def wait_step(self, run: dict[str, Any], reason: str, status: set[str], seconds: float = 60) -> dict[str, Any]:
        """The newest execution of a kind, once it has one of the given statuses."""

        def found() -> dict[str, Any] | None:
            items = [item for item in self.executions(run) if item["run_reason"] == reason]
            return items[-1] if items and items[-1]["status"] in status else None

        values = {"workspace_id": run["workspace_id"], "reason": reason, "status": list(status)}
        return self.until_stored(found, STEP, seconds=seconds, what=f"{reason} in {status}", **values)

    def wait_end(self, execution_id: str, seconds: float = 60) -> dict[str, Any]:
        """An execution that has ended."""

        def final() -> dict[str, Any] | None:
            found = self.get(f"/v1/executions/{execution_id}")
            return found if found["status"] in FINAL else None

        what = f"the end of {execution_id}"
        return self.until_stored(final, ENDED, seconds=seconds, what=what, execution_id=execution_id)

    def wait_state(self, run: dict[str, Any], state: str, seconds: float = 60) -> dict[str, Any]:
        """The workspace of a run, once it is in this state and no other one is asked for."""

        def there() -> dict[str, Any] | None:
            seen = self.get(f"/v1/workspaces/{run['workspace_id']}")
            return seen if (seen["state"], seen.get("requested_state")) == (state, None) else None

        what = f"the workspace {state}"
        values = {"workspace_id": run["workspace_id"], "state": state}
        return self.until_stored(there, STATE, seconds=seconds, what=what, **values)

    def wait_log(self, execution_id: str, size: int) -> None:
        """Until so many bytes of the log are stored."""
        enough = lambda: self.log_size(execution_id) >= size  # noqa: E731
        what = f"{size} stored bytes"
        self.until_stored(enough, LOG_SIZE, seconds=60, what=what, execution_id=execution_id, size=size)

    def log(self, execution_id: str, stream: str = "all") -> bytes:
        answer = self.http.get(f"/v1/executions/{execution_id}/logs", params={"stream": stream})
        assert answer.status_code == 200, answer.text
        return answer.content

    def log_size(self, execution_id: str) -> int:
        """Stored bytes of the log, which is not sent for it."""
        answer = self.http.head(f"/v1/executions/{execution_id}/logs")
        assert answer.status_code == 200, answer.headers
        return int(answer.headers["content-length"])

    def kill(self, execution_id: str) -> None:
        answer = self.http.post(f"/v1/executions/{execution_id}/kill")
        assert answer.status_code == 202, answer.text

    def end(self) -> None:
        """End the processes; remove the containers and the network."""
        for name in list(self.processes):
            self.stop(name)
        self.remove_containers()
        self.rows.close()
        self.database.dispose()

    def docker_client(self) -> docker.DockerClient:
        """A new client of the container engine that this node uses."""
        return docker.DockerClient(self.environment.get("RELAY_DOCKER_HOST") or os.environ.get("DOCKER_HOST"))

    def remove_containers(self) -> None:
        """Remove the containers and the network of this node, whose workers have ended."""
        node_id = self.data_dir / "node_id"
        if node_id.exists():
            client = self.docker_client()
            remove_containers(client, f"relay.node_id={node_id.read_text().strip()}")
            remove_networks(client, self.environment["RELAY_CONTAINER_NETWORK"])
            client.close()

    def container(self, run: dict[str, Any]) -> Any:
        label = f"relay.workspace_id={run['workspace_id']}"
        filters = {"label": [label, "relay.role=workspace"]}
        (found,) = engine().containers.list(all=True, filters=filters)
        return found

    def processes_in(self, run: dict[str, Any]) -> str:
        return "\n".join(" ".join(row) for row in self.container(run).top()["Processes"])


def environment_of(root: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """The settings of an API and its workers, who share a node."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RELAY_")},
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
        "RELAY_DATA_DIR": str(root / "data"),
        "RELAY_API_PORT": str(free_port()),
        "RELAY_GIT_ALLOW_FILE": "true",
        "RELAY_GIT_ALLOW_HTTP": "true",
        "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
        "RELAY_WORKER_CONCURRENCY": "16",
        "RELAY_CLONE_TIMEOUT_SECONDS": "20",
        "RELAY_DEV_SERVER_START_SECONDS": "8",
        "RELAY_CONTAINER_NETWORK": f"relay-test-{os.getpid()}",
        "RELAY_NODE_MAX_WORKSPACES": "1000",
        "RELAY_NODE_MEMORY_BYTES": str(1 << 50),
        "RELAY_NODE_PIDS": str(1 << 30),
        "RELAY_SECRET_KEYS": base64.b64encode(os.urandom(32)).decode(),
    }
    if own_ca := own_ca_bundle():
        environment["RELAY_CA_BUNDLE"] = str(own_ca)
    return environment


def relay_command(relay: Relay, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RELAY_API_URL": str(relay.http.base_url), "RELAY_TOKEN": relay.token}
    command = [sys.executable, "-m", "relay_cli.main", *words]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=True)


def step(relay: Relay, run: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A further step, once it has ended."""
    answer = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body)
    assert answer.status_code == 202, answer.text
    return relay.wait_end(answer.json()["id"])


def adopted(relay: Relay, execution_id: str) -> bool:
    with relay.database.connect() as connection:
        statement = text("SELECT fence > 1 FROM execution_processes WHERE id = :id")
        return connection.execute(statement, {"id": execution_id}).scalar_one()
