"""A workspace container of a test's own, and steps in it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import APIError

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.docker.client import connect
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.pid1.install import install_programs
from relay_workers.containers.pid1.record import Record, is_held
from relay_workers.containers.port import (
    ContainerLimits,
    ContainerSpec,
    KillResult,
    StepStart,
    TerminalSize,
    identity_labels,
)
from relay_workers.containers.run_files import RunFiles
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end
from tests.support.machine import NETWORK
from tests.support.waiting import eventually

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

    files: RunFiles
    gid: int

    @property
    def record(self) -> Record:
        record = self.files.read_record()
        assert record is not None
        return record

    def exited(self) -> Record:
        """The record, once the step's process has ended."""
        return eventually(lambda: found if (found := self.record).ended else None, "the step ends")

    def wait(self) -> Record:
        """The record, once nothing writes to it or to the log any more."""
        return eventually(lambda: found if (found := self.over()) else None, "the step's log ends")

    def over(self) -> Record | None:
        held = is_held(self.files.directory / "record")
        record = self.record
        return record if record.drained or not held else None

    def verdict(self) -> ExitVerdict:
        return judge_end(self.wait(), over=True)

    def log(self, stream: Stream = Stream.STDOUT) -> bytes:
        fd, _ = self.files.open_log(stream)
        with os.fdopen(fd, "rb") as file:
            return file.read()


@dataclass
class Workspace:
    """A running workspace container."""

    containers: DockerContainers
    api: docker.APIClient
    spec: ContainerSpec
    container: str
    uid: int = UID

    def prepare(
        self,
        script: str | bytes,
        gid: int = 20001,
        *,
        stdin: bytes = b"",
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
        terminal: TerminalSize | None = None,
    ) -> StepStart:
        """The request to start a step, whose files are made."""
        files = RunFiles(self.spec.programs_dir.parent, uuid4(), 1)
        files.create()
        content = script.encode() if isinstance(script, str) else script
        uid = self.uid if uid is None else uid
        return StepStart(files, uid, gid, "/workspace", content, env or {}, stdin, terminal=terminal)

    def start(self, script: str | bytes, gid: int = 20001, **more) -> Step:
        """Start a step."""
        start = self.prepare(script, gid, **more)
        self.containers.start(self.container, start)
        return Step(start.files, gid)

    def run(self, script: str | bytes, gid: int = 20001, **more) -> Step:
        """Run a step to its end."""
        step = self.start(script, gid, **more)
        step.wait()
        return step

    def kill(self, step: Step, grace_seconds: float = 0) -> KillResult:
        return self.containers.kill_execution(self.container, step.files.key, grace_seconds=grace_seconds)

    def processes(self, gid: int | None = None) -> list[str]:
        """Commands running in the container (of one gid), PID 1 aside."""
        listing = self.api.top(self.container, "-eo pid,gid,stat,args")["Processes"]
        rows = [row for row in listing if "/relay/relay-pid1" not in row[3]]
        return [row[3] for row in rows if not row[2].startswith("Z") and gid in {None, int(row[1])}]

    def end(self) -> None:
        self.containers.remove(self.container)
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
def programs_dir() -> Iterator[Path]:
    data_dir = Path(tempfile.mkdtemp(prefix="relay-test-"))
    data_dir.chmod(0o755)
    yield install_programs(data_dir)
    shutil.rmtree(data_dir)


def make_spec(api: docker.APIClient, programs_dir: Path) -> ContainerSpec:
    """A workspace container of its own, with its directories."""
    workspace_id = str(uuid4())
    directory = programs_dir.parent / "workspaces" / workspace_id
    directory.mkdir(parents=True)
    os.chown(directory, UID, UID)
    return ContainerSpec(
        name=f"relay-test-{workspace_id[:8]}",
        image=base_image(api),
        labels=identity_labels("test-node", workspace_id),
        workspace_dir=directory,
        programs_dir=programs_dir,
        channel_dir=programs_dir.parent / "channels" / workspace_id,
        limits=LIMITS,
        network=NETWORK,
    )


@pytest.fixture
def new_spec(docker_api: docker.APIClient, programs_dir: Path) -> Callable[[], ContainerSpec]:
    return partial(make_spec, docker_api, programs_dir)


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


@pytest.fixture(scope="module")
def module_workspace(docker_api: docker.APIClient, programs_dir: Path) -> Iterator[Workspace]:
    containers, spec = DockerContainers(docker_api), make_spec(docker_api, programs_dir)
    workspace = Workspace(containers, docker_api, spec, containers.ensure_container(spec))
    yield workspace
    workspace.end()


@pytest.fixture
def calm_workspace(module_workspace: Workspace) -> Iterator[Workspace]:
    """The module's container, for a test that neither stops nor changes it: each leaves it without a process."""
    yield module_workspace
    eventually(lambda: module_workspace.processes() == [], "nothing runs any more")
