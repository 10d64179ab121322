"""A workspace container of a test's own, and steps in it."""

import os
import select
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import APIError

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.docker.client import connect
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.in_container.install import install_supervisor
from relay_workers.containers.port import ContainerLimits, ContainerSpec, StepStart, identity_labels
from relay_workers.host_files.run_dir import ExitRecord, Owner, RunDir, prepare_run_dir
from tests.support.machine import NETWORK

UID = 1000
LIMITS = ContainerLimits(memory_bytes=256 << 20, cpus=2.0, pids=128, nofile=4096)
DEADLINE_SECONDS = 30


def base_image(api: docker.APIClient) -> str:
    """The image that tests run in: the one that Relay makes itself."""
    image = os.environ.get("RELAY_TEST_IMAGE", "relay-base:latest")
    assert api.images(image), f"{image} is not on this machine; scripts/up makes it"
    return image


@dataclass
class Step:
    """A step under way."""

    run: RunDir
    exec_id: str
    alive: int
    gid: int
    said: bytes = b""

    def wait(self, for_byte: bytes = b"") -> bytes:
        """All that `alive` has said since the start, once ``for_byte`` came, or once its supervisor is dead."""
        poll = select.poll()
        poll.register(self.alive, select.POLLIN)
        while not (for_byte and for_byte in self.said):  # two bytes may come in one read
            assert poll.poll(DEADLINE_SECONDS * 1000), "nothing happened"
            data = os.read(self.alive, 64)
            if not data:
                break
            self.said += data
        return self.said

    def log(self, stream: Stream = Stream.STDOUT) -> bytes:
        fd, _ = self.run.open_log(stream)
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def record(self) -> ExitRecord:
        record = self.run.read_exit()
        assert record is not None
        return record


@dataclass
class Workspace:
    """A running workspace container."""

    containers: DockerContainers
    api: docker.APIClient
    spec: ContainerSpec
    container: str
    steps: list[Step] = field(default_factory=list)
    uid: int = UID

    def prepare(self, script: str | bytes, gid: int = 20001, *, stdin: bytes = b"", uid: int | None = None) -> RunDir:
        run = RunDir(self.spec.workspace_dir, str(uuid4()), 1)
        content = script.encode() if isinstance(script, str) else script
        prepare_run_dir(run, Owner(self.uid if uid is None else uid, gid), content, stdin)
        return run

    def start(
        self,
        script: str | bytes,
        gid: int = 20001,
        *,
        stdin: bytes = b"",
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Step:
        """Start a step and wait until it runs."""
        run = self.prepare(script, gid, stdin=stdin, uid=uid)
        user = f"{self.uid if uid is None else uid}:{gid}"
        alive = run.open_alive()  # before the start: no event is missed
        exec_id = self.containers.start(self.container, StepStart(run.container_path, user, "/workspace", env or {}))
        step = Step(run, exec_id, alive, gid)
        self.steps.append(step)
        assert step.wait(b"s").startswith(b"s"), "the supervisor did not start"
        return step

    def run(self, script: str | bytes, gid: int = 20001, *, stdin: bytes = b"", uid: int | None = None) -> Step:
        """Run a step to its end."""
        step = self.start(script, gid, stdin=stdin, uid=uid)
        step.wait()
        return step

    def path(self, run: RunDir) -> Path:
        return run.workspace_dir / "runs" / run.execution_id / str(run.fence)

    def processes(self, gid: int | None = None) -> list[str]:
        """Commands running in the container (of one gid), PID 1 aside."""
        listing = self.api.top(self.container, "-eo pid,gid,stat,args")["Processes"]
        rows = [row for row in listing if "/relay/pid1" not in row[3] and "kill.sh" not in row[3]]
        return [row[3] for row in rows if not row[2].startswith("Z") and gid in {None, int(row[1])}]

    def end(self) -> None:
        self.containers.remove(self.container)
        for step in self.steps:
            os.close(step.alive)
        shutil.rmtree(self.spec.workspace_dir)


@pytest.fixture(scope="session")
def docker_api() -> Iterator[docker.APIClient]:
    api = connect()
    yield api
    with suppress(APIError):  # another session uses it
        api.remove_network(NETWORK)
    api.close()


@pytest.fixture
def docker_engine(docker_api: docker.APIClient) -> DockerContainers:
    return DockerContainers(docker_api)


@pytest.fixture(scope="session")
def supervisor_dir() -> Iterator[Path]:
    data_dir = Path(tempfile.mkdtemp(prefix="relay-test-"))
    data_dir.chmod(0o755)
    yield install_supervisor(data_dir)
    shutil.rmtree(data_dir)


@pytest.fixture
def new_spec(docker_api: docker.APIClient, supervisor_dir: Path) -> Callable[[], ContainerSpec]:
    def make() -> ContainerSpec:
        workspace_id = str(uuid4())
        directory = supervisor_dir.parent / "workspaces" / workspace_id
        directory.mkdir(parents=True)
        os.chown(directory, UID, UID)
        return ContainerSpec(
            name=f"relay-test-{workspace_id[:8]}",
            image=base_image(docker_api),
            labels=identity_labels("test-node", workspace_id),
            workspace_dir=directory,
            supervisor_dir=supervisor_dir,
            limits=LIMITS,
            network=NETWORK,
        )

    return make


@pytest.fixture
def new_workspace(
    docker_engine: DockerContainers, docker_api: docker.APIClient, new_spec: Callable[[], ContainerSpec]
) -> Iterator[Callable[..., Workspace]]:
    made: list[Workspace] = []

    def make(**changes: object) -> Workspace:
        spec = replace(new_spec(), **changes)
        made.append(Workspace(docker_engine, docker_api, spec, docker_engine.ensure_container(spec)))
        return made[-1]

    yield make
    for workspace in made:
        workspace.end()


@pytest.fixture
def workspace(new_workspace: Callable[..., Workspace]) -> Workspace:
    return new_workspace()
