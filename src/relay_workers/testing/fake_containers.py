"""A fake container engine in memory, with scripted steps and faults."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from relay_core.domain.errors import Conflict, RelayError, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.failure import classify_failure
from relay_workers.containers.docker.pull import explain, unavailable
from relay_workers.containers.pid1.answers import ExecutionStatus, How
from relay_workers.containers.pid1.errors import AlreadyStarted, NotRunning, StartForbidden, UnknownExecution
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.pid1.watcher import EndListener
from relay_workers.containers.port import (
    LABEL_NODE,
    LABEL_ROLE,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    EngineUnavailable,
    ImageInfo,
    KillResult,
    OurContainer,
    PullTerms,
    StepStart,
    Storage,
    TerminalSize,
)
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.testing.fake_container import FakeContainer
from relay_workers.testing.fake_step import FakeProcess, FakeStep
from relay_workers.testing.fake_terminal import FakeTerminal
from relay_workers.testing.faults import Faults

T = TypeVar("T")
PROGRAM_DIR = "/usr/bin"
BY_CHANNEL = frozenset(
    {"start", "forbid", "leftover_names", "kill_execution", "probe", "answers", "status", "watch", "pty", "resize"}
)
"""The verbs that a container's first process answers, without the engine."""


@dataclass(frozen=True)
class FakeImage:
    """A fake image and the names of the programs in its `PROGRAM_DIR`."""

    info: ImageInfo
    programs: frozenset[str] = frozenset({"sh", "python3"})


def make_image(name: str, **fields: object) -> FakeImage:
    """Return a fake image whose id is derived from ``name``; ``fields`` are fields of `ImageInfo`."""
    known: dict[str, object] = {"id": f"sha256:{name}", "digest": None, "user": "", "uid": None}
    known |= {"env": {"PATH": f"{PROGRAM_DIR}:/bin"}, "architecture": "amd64"}
    return FakeImage(ImageInfo(**{**known, **fields}))  # type: ignore[arg-type]


class FakeContainers:
    """Implements `Containers` in memory, without an engine; usable from many threads.

    Not simulated: pulls with a size or a deadline, storage of layers, processes that fork.

    Args:
        images: the images of the node, by reference.
        retry: repeats calls while the engine is silent, as for the real engine; by default each call fails at once.
        wait: called with the grace period of a kill in seconds; by default no time passes.
    """

    def __init__(
        self,
        images: Mapping[str, FakeImage],
        retry: RetryWhileSilent | None = None,
        wait: Callable[[float], object] = lambda _: None,
    ) -> None:
        self.faults = Faults()
        self._images = dict(images)
        self._retry = retry or RetryWhileSilent()
        self._wait = wait
        self._lock = threading.RLock()
        self._containers: dict[str, FakeContainer] = {}
        self._stubborn = 0

    def find(self, container_id: str) -> FakeContainer | None:
        """Return a container by id or name, for tests that inspect the fake itself; None if there is none."""
        with self._lock:
            by_name = (container for container in self._containers.values() if container.spec.name == container_id)
            return self._containers.get(container_id) or next(by_name, None)

    def step_of(self, container_id: str, gid: int) -> FakeStep | None:
        """Return the newest step with that gid in a container, or None; for tests that inspect the fake."""
        with self._lock:
            found = self.find(container_id)
            steps = list(found.steps.values()) if found else []
            return next((step for step in reversed(steps) if step.gid == gid), None)

    def started(self, container_id: str, gid: int) -> int:
        """Return how many starts with that gid began a process; starts that were ruled out do not count."""
        with self._lock:
            found = self.find(container_id)
            return 0 if found is None else found.begun[gid]

    def processes(self, container_id: str) -> list[FakeProcess]:
        """Return all processes of the steps in a container, for tests that inspect the fake."""
        with self._lock:
            found = self.find(container_id)
            return [process for step in found.steps.values() for process in step.processes] if found else []

    def act(self, change: Callable[[], None]) -> None:
        """Run ``change``, which changes a step or container, while no method of the fake runs in another thread."""
        with self._lock:
            change()

    def remove_behind(self, container_id: str) -> None:
        """Remove a container as an operator does with the docker command, without Relay's knowledge.

        Recorded: tests/integration/workers/maintenance/test_divergence_again.py, tests/conformance/test_containers.py.
        """
        with self._lock:
            if (found := self.find(container_id)) is not None:
                found.end()
                del self._containers[found.id]

    def stay_once(self) -> None:
        """Make the next kill find a process that survives, so that the container is restarted to kill it.

        Recorded: tests/integration/workers/containers/test_container_kill.py.
        """
        self._stubborn += 1

    def info(self) -> EngineInfo:
        """Return the engine's version, its host's size and the images on the node (`Containers.info`)."""
        return self._serve("info", lambda: EngineInfo("fake", "2", 2, 4 << 30, tuple(sorted(self._images))))

    def platform(self) -> tuple[str, int]:
        """Return the engine's architecture and number of processors (`Containers.platform`)."""
        return self._serve_with_retry("platform", lambda: ("amd64", 2))

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """Return an image of the node, of which none can be pulled (`Containers.ensure_image`)."""
        return self._serve_with_retry("ensure_image", lambda: self._ensure_image(ref, terms))

    def ensure_container(self, spec: ContainerSpec) -> str:
        """Return the id of a running container; create or start it if needed (`Containers.ensure_container`)."""
        return self._serve_with_retry("ensure_container", lambda: self._ensure_container(spec))

    def start(self, container_id: str, step: StepStart) -> None:
        """Start a scripted step (`Containers.start`)."""

        def begin() -> None:
            container, key = self._running(container_id), step.files.key
            if key in container.forbidden:
                raise StartForbidden("it was declared as never started", code="start_forbidden")
            if key in container.steps:
                raise AlreadyStarted("it was started before", code="already_started")
            if not (container.has_shell or step.script.startswith(b"#!")):
                message = "failed while executing its program: No such file or directory"
                raise StepFailed(Reason.START_FAILED, message)
            if step.terminal and step.stdin:
                raise StepFailed(Reason.START_FAILED, "a step with a terminal has no other standard input")
            container.steps[key] = FakeStep(step)
            container.begun[step.gid] += 1

        self._serve("start", begin)

    def forbid(self, container_id: str, key: Key) -> bool:
        """Declare that a start never happens; return False if it has happened (`Containers.forbid`)."""

        def rule_out() -> bool:
            container = self._running(container_id)
            if key in container.steps:
                return False
            container.forbidden.add(key)
            return True

        return self._serve_with_retry("forbid", rule_out)

    def pty(self, container_id: str, key: Key) -> int:
        """Return the descriptor of the master of a step's terminal (`Containers.pty`)."""
        return self._serve("pty", lambda: self._terminal(container_id, key).master())

    def resize(self, container_id: str, key: Key, size: TerminalSize) -> None:
        """Change the size of a step's terminal (`Containers.resize`)."""
        self._serve("resize", lambda: self._terminal(container_id, key).resize(size))

    def status(self, container_id: str, key: Key) -> ExecutionStatus:
        """Return the state of an execution in a running container (`Containers.status`)."""
        return self._serve("status", lambda: self._step(container_id, key).status())

    def watch(self, container_id: str, key: Key, heard: EndListener) -> Callable[[], None]:
        """Hear of the end of a step from its container (`Containers.watch`)."""

        def begin() -> Callable[[], None]:
            step = self._step(container_id, key)
            step.heard.append(heard)
            if (status := step.status()).how is not How.NOT_YET:
                heard(status)
                if step.over:
                    heard(status)
            return lambda: step.heard.remove(heard) if heard in step.heard else None

        try:
            return self._serve("watch", begin)
        except RelayError:
            return lambda: None

    def leftover_names(self, container_id: str, key: Key) -> list[str]:
        """Return the names of processes that the step left behind (`Containers.leftover_names`)."""

        def look() -> list[str]:
            step = self._running(container_id).steps.get(key)
            return sorted(process.name for process in step.leftovers) if step else []

        return self._serve("leftover_names", look)

    def kill_execution(self, container_id: str, key: Key, *, grace_seconds: float) -> KillResult:
        """Kill every process of an execution, first with TERM, then with KILL (`Containers.kill_execution`)."""
        return self._serve_with_retry("kill_execution", lambda: self._kill(container_id, key, grace_seconds))

    def dial(self, container_id: str, port: int) -> socket.socket:
        """Raise an error: a fake container has no sockets; `FakeForwarder` asks `listens`."""
        raise NotImplementedError

    def answers(self, container_id: str) -> bool:
        """Return whether the container runs and the engine is not silent (`Containers.answers`)."""
        try:
            return self._serve("answers", lambda: (found := self.find(container_id)) is not None and found.running)
        except (StepFailed, EngineUnavailable):
            return False

    def inspect(self, container_id: str) -> ContainerState:
        """Return the state of a container, also of one that does not exist (`Containers.inspect`)."""

        def look() -> ContainerState:
            found = self.find(container_id)
            return ContainerState(exists=False) if found is None else found.state

        return self._serve_with_retry("inspect", look)

    def listens(self, container_id: str, port: int) -> bool:
        """Return whether a step of the container listens on ``port``; used by `FakeForwarder`."""

        def look() -> bool:
            return any(step.port == port for step in self._running(container_id).steps.values())

        return self._serve("probe", look)

    def storage(self, container_id: str) -> Storage:
        """Return no directories: a fake container has none on this host (`Containers.storage`)."""

        def look() -> Storage:
            self._existing(container_id)
            return Storage((), layer_seen=False)

        return self._serve("storage", look)

    def layer_bytes(self, container_id: str) -> int:
        """Return the bytes that a container wrote into its own layer (`Containers.layer_bytes`)."""

        def look() -> int:
            found = self.find(container_id)
            return 0 if found is None else found.layer_bytes

        return self._serve("layer_bytes", look)

    def stop(self, container_id: str) -> None:
        """Kill every process of a container and keep its files (`Containers.stop`)."""

        def end() -> None:
            if (found := self.find(container_id)) is not None:
                found.end()

        self._serve_with_retry("stop", end)

    def restart(self, container_id: str) -> None:
        """Stop a container if it runs, then start it (`Containers.restart`)."""
        self._serve_with_retry("restart", lambda: self._restart(self._existing(container_id)))

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not (`Containers.remove`)."""
        self._serve_with_retry("remove", lambda: self.remove_behind(container_id))

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """Return the workspace containers that have this node's label (`Containers.list_ours`)."""
        wanted = {LABEL_NODE: node_id, LABEL_ROLE: "workspace"}

        def look() -> list[OurContainer]:
            return [
                OurContainer(container.id, container.spec.name, container.running, container.spec.labels)
                for container in self._containers.values()
                if wanted.items() <= dict(container.spec.labels).items()
            ]

        return self._serve_with_retry("list_ours", look)

    def _serve(self, verb: str, action: Callable[[], T]) -> T:
        number = self.faults.enter(verb, by_channel=verb in BY_CHANNEL)
        with self._lock:
            answer = action()
        self.faults.leave(verb, number)
        return answer

    def _serve_with_retry(self, verb: str, action: Callable[[], T]) -> T:
        return self._retry.call(lambda: self._serve(verb, action))

    def _image(self, ref: str) -> FakeImage:
        found = self._images.get(ref) or next((one for one in self._images.values() if one.info.id == ref), None)
        if found is None:
            raise classify_failure(404, f"No such image: {ref}")
        return found

    def _ensure_image(self, ref: str, terms: PullTerms | None) -> ImageInfo:
        if ref not in self._images and terms is not None:
            terms.judge()
            if terms.cancelled.is_set():
                raise StepFailed(Reason.USER, f"killed while the image {ref!r} was being pulled")
            raise explain(ref, "manifest unknown")
        with suppress(StepFailed):
            return self._image(ref).info
        raise unavailable(ref, "it is not on this node")

    def _ensure_container(self, spec: ContainerSpec) -> str:
        found = self.find(spec.name)
        if found is None:
            self._image(spec.image)
            if not spec.workspace_dir.is_dir():
                text = f'invalid mount config for type "bind": bind source path does not exist: {spec.workspace_dir}'
                raise classify_failure(400, text)
            found = FakeContainer(uuid4().hex, spec)
            self._containers[found.id] = found
        elif any(found.spec.labels.get(name) != value for name, value in spec.labels.items()):
            message = f"a container named {spec.name!r} exists and is not this workspace's; remove or rename it"
            raise Conflict(message, code="container_name_taken")
        found.start()
        return found.id

    def _existing(self, container_id: str) -> FakeContainer:
        found = self.find(container_id)
        if found is None:
            raise classify_failure(404, f"No such container: {container_id}")
        return found

    def _terminal(self, container_id: str, key: Key) -> FakeTerminal:
        step = self._step(container_id, key)
        if step.over:
            raise NotRunning("the step has ended", code="not_running")
        if step.terminal is None:
            raise NotRunning("the step has no terminal", code="no_terminal")
        return step.terminal

    def _step(self, container_id: str, key: Key) -> FakeStep:
        step = self._running(container_id).steps.get(key)
        if step is None:
            raise UnknownExecution("it was never started")
        return step

    def _running(self, container_id: str) -> FakeContainer:
        found = self._existing(container_id)
        if not found.running:
            raise classify_failure(409, f"Container {container_id} is not running")
        return found

    def _restart(self, container: FakeContainer) -> None:
        container.end()
        container.start()

    def _kill(self, container_id: str, key: Key, grace_seconds: float) -> KillResult:
        container = self.find(container_id)
        if container is None or not container.running:
            return KillResult(0, 0, restarted=False)
        if self._stubborn:
            self._stubborn -= 1
            self._restart(container)
            return KillResult(0, 0, restarted=True)
        step = container.steps.get(key)
        if step is None or step.over:
            return KillResult(0, 0, restarted=False)
        for process in list(step.processes):
            step.terminate(process)
        if step.processes and grace_seconds:
            self._wait(grace_seconds)
        for process in list(step.processes):
            step.kill(process)
        return KillResult(0, 1, restarted=False)
