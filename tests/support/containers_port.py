"""The container port on the fake and on the real engine, with the same faults on both: one fixture, two engines."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from relay_workers.containers.docker.client import connect
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.docker.forward import Forwarder
from relay_workers.containers.forwarding import PortForwarder
from relay_workers.containers.port import Containers, ContainerSpec, StepStart, identity_labels
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.testing.fake_clock import FakeClock
from relay_workers.testing.fake_containers import FakeContainers, make_image
from relay_workers.testing.fake_forwarder import FakeForwarder
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.engine_fixtures import LIMITS, NETWORK, UID, Step, Workspace
from tests.support.engine_line import EngineLine

pytest_plugins = ["tests.support.engine_fixtures"]

PATIENCE_SECONDS = 10
REQUESTS = {
    "ensure_container": b"/containers/create",
    "stop": b"/stop",
    "remove": b"DELETE /",
}
"""By verb, the words of its request on the Docker API."""


@dataclass
class EnginePort:
    """An engine and what a test does to it."""

    containers: Containers
    new_spec: Callable[[], ContainerSpec]
    silence: Callable[[], None]
    answer: Callable[[], None]
    lose_request: Callable[[str], None]
    """The next request of a verb does not arrive; the engine is silent from then on, until `answer`."""
    lose_answer: Callable[[str], None]
    """The next request of a verb is carried out, and the engine is silent from then on, until `answer`."""
    break_shell: Callable[[Workspace], None]
    """Remove /bin/sh from a container, as a step of root may."""
    forwarder: PortForwarder
    now: Callable[[], float]
    """Seconds, on the clock by which a kill waits."""

    def workspace(self, **changes: object) -> Workspace:
        """A running container; ended by the fixture."""
        spec = replace(self.new_spec(), **changes)
        self.made.append(Workspace(self.containers, None, spec, self.containers.ensure_container(spec)))
        return self.made[-1]

    def __post_init__(self) -> None:
        self.made: list[Workspace] = []

    def start(self, workspace: Workspace, script: ScriptedStep, gid: int = 20001, uid: int = UID) -> Step:
        return workspace.start(script.script(), gid, uid=uid)

    def prepare(self, workspace: Workspace, script: ScriptedStep | None = None) -> StepStart:
        return workspace.prepare((script or ScriptedStep()).script())

    def end(self) -> None:
        self.answer()
        self.forwarder.shutdown()
        for workspace in self.made:
            workspace.end()


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest) -> Iterator[EnginePort]:
    port = request.getfixturevalue(f"{request.param}_port")(RetryWhileSilent())
    yield port
    port.end()


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def patient_engine(request: pytest.FixtureRequest) -> Iterator[EnginePort]:
    """An adapter that repeats what it may while the engine is silent."""
    port = request.getfixturevalue(f"{request.param}_port")(RetryWhileSilent(PATIENCE_SECONDS))
    yield port
    port.end()


@pytest.fixture
def fake_port(tmp_path: Path) -> Callable[[RetryWhileSilent], EnginePort]:
    def new_spec() -> ContainerSpec:
        workspace_id = str(uuid4())
        directory = tmp_path / workspace_id
        directory.mkdir()
        return ContainerSpec(
            name=f"relay-test-{workspace_id[:8]}",
            image="base",
            labels=identity_labels("test-node", workspace_id),
            workspace_dir=directory,
            programs_dir=tmp_path / "programs",
            channel_dir=tmp_path / "channels" / workspace_id,
            limits=LIMITS,
            network=NETWORK,
        )

    def make(retry: RetryWhileSilent) -> EnginePort:
        clock = FakeClock()
        fake = FakeContainers({"base": make_image("base")}, retry, clock.pass_by)

        def lose_request(verb: str) -> None:
            fake.faults.lose_request(verb)

        def lose_answer(verb: str) -> None:
            fake.faults.lose_answer(verb)

        def break_shell(workspace: Workspace) -> None:
            fake.find(workspace.container).has_shell = False

        def silence() -> None:
            fake.faults.fall_silent(containers=False)

        answer = fake.faults.answer_again
        faults = (silence, answer, lose_request, lose_answer, break_shell)
        return EnginePort(fake, new_spec, *faults, FakeForwarder(fake), clock.monotonic)

    return make


@pytest.fixture
def docker_port(
    tmp_path: Path, new_spec: Callable[[], ContainerSpec], docker_api: docker.APIClient
) -> Iterator[Callable[[RetryWhileSilent], EnginePort]]:
    line = EngineLine(Path(f"/tmp/relay-line-{os.getpid()}-{uuid4().hex[:8]}.sock"))
    api = connect(line.host)

    def break_shell(workspace: Workspace) -> None:
        workspace.run("mv /bin/sh /bin/hidden", gid=20009, uid=0)

    def make(retry: RetryWhileSilent) -> EnginePort:
        containers = DockerContainers(api, retry)
        return EnginePort(
            containers,
            new_spec,
            line.cut,
            line.mend,
            lambda verb: line.lose_request(REQUESTS[verb]),
            lambda verb: line.lose_answer(REQUESTS[verb]),
            break_shell,
            Forwarder(containers),
            time.monotonic,
        )

    yield make
    api.close()
    line.close()
    Path(line.host.removeprefix("unix://")).unlink()
