"""The container interface, implemented with the Docker API (Engine 20.10 and later)."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import requests
import structlog
from docker.errors import NotFound

from relay_core.domain.errors import StepFailed
from relay_workers.containers.docker.channels import Channels
from relay_workers.containers.docker.container_lifecycle import ContainerLifecycle
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.docker.host_view import HostView
from relay_workers.containers.docker.image import ensure_image
from relay_workers.containers.docker.process_killer import ProcessKiller
from relay_workers.containers.docker.steps import start_step
from relay_workers.containers.pid1.answers import ExecutionStatus
from relay_workers.containers.pid1.errors import AlreadyStarted, UnknownExecution
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.pid1.watcher import EndListener, Watcher
from relay_workers.containers.port import (
    LABEL_NODE,
    LABEL_ROLE,
    MOST_IMAGES,
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

log = structlog.get_logger(__name__)


class DockerContainers:
    """Implements `Containers` on a Docker engine. One per worker process, usable from many threads.

    Args:
        api: a client of the engine.
        retry: repeats requests while the engine gives no answer; None repeats none.
        quick: a client with a shorter timeout, for kills: they must not wait long for an engine that a container
            blocks. None uses ``api``.
    """

    def __init__(
        self, api: docker.APIClient, retry: RetryWhileSilent | None = None, quick: docker.APIClient | None = None
    ) -> None:
        self._api = api
        self._retry = retry or RetryWhileSilent()
        self._host = HostView()
        self._channels = Channels(api)
        self._lifecycle = ContainerLifecycle(api, self._channels, self._host)
        self._killer = ProcessKiller(quick or api, self._channels, self._host, self._lifecycle.restart)
        self._watcher = Watcher()
        self._platform: tuple[str, int] | None = None

    def info(self) -> EngineInfo:
        """Return the engine's version, its host's size and the images on the node (`Containers.info`)."""
        with translated():
            found = self._api.info()
            names = sorted(name for image in self._api.images() for name in image.get("RepoTags") or ())
        return EngineInfo(
            version=found["ServerVersion"],
            cgroup_version=str(found.get("CgroupVersion", "1")),
            cpus=found["NCPU"],
            memory_bytes=found["MemTotal"],
            images=tuple(name for name in names if not name.startswith("<none>"))[:MOST_IMAGES],
        )

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """Return an image of the node; pull it first if needed and allowed (`Containers.ensure_image`)."""
        return self._retry.call(lambda: ensure_image(self._api, ref, terms))

    def platform(self) -> tuple[str, int]:
        """Return the engine's architecture and number of processors (`Containers.platform`). The result is cached."""
        if self._platform is None:
            found = self._ask(lambda: (self._api.version()["Arch"], self._api.info()["NCPU"]))
            self._platform = (str(found[0]), int(found[1]))
        return self._platform

    def ensure_container(self, spec: ContainerSpec) -> str:
        """Return the id of a running container; create or start it if needed (`Containers.ensure_container`)."""
        return self._retry.call(lambda: self._lifecycle.ensure(spec))

    def start(self, container_id: str, step: StepStart) -> None:
        """Start a step, and return once its program is being executed (`Containers.start`)."""
        self._channels.call(container_id, lambda found: start_step(found, step), again=False)

    def forbid(self, container_id: str, key: Key) -> bool:
        """Declare that a start never happens; return False if it has happened (`Containers.forbid`)."""
        try:
            self._retry.call(lambda: self._channels.call(container_id, lambda found: found.pid1.forbid(key)))
        except AlreadyStarted:
            return False
        return True

    def pty(self, container_id: str, key: Key) -> int:
        """Return the descriptor of the master of a step's terminal (`Containers.pty`)."""
        return self._channels.call(container_id, lambda found: found.pid1.pty(key))

    def resize(self, container_id: str, key: Key, size: TerminalSize) -> None:
        """Change the size of a step's terminal (`Containers.resize`)."""
        self._channels.call(container_id, lambda found: found.pid1.resize(key, size))

    def status(self, container_id: str, key: Key) -> ExecutionStatus:
        """Return the state of an execution in a running container (`Containers.status`)."""
        return self._channels.call(container_id, lambda found: found.pid1.status(key))

    def watch(self, container_id: str, key: Key, heard: EndListener) -> Callable[[], None]:
        """Hear of the end of a step from its container (`Containers.watch`)."""
        try:
            pid1 = self._channels.call(container_id, lambda found: found.pid1)
        except (StepFailed, EngineUnavailable) as error:
            log.warning("the end of a step is heard of from its record only", error=str(error))
            return lambda: None
        self._watcher.watch(pid1, key, heard)
        return lambda: self._watcher.forget(pid1, key)

    def leftover_names(self, container_id: str, key: Key) -> list[str]:
        """Return the names of processes that the step left behind (`Containers.leftover_names`)."""
        try:
            found = self._channels.call(container_id, lambda found: found.pid1.leftovers(key))
        except UnknownExecution:
            return []
        return sorted(process.name for process in found.listed)

    def kill_execution(self, container_id: str, key: Key, *, grace_seconds: float) -> KillResult:
        """Kill every process of an execution, first with TERM, then with KILL (`Containers.kill_execution`)."""
        return self._retry.call(lambda: self._killer.end(container_id, key, grace_seconds))

    def dial(self, container_id: str, port: int) -> socket.socket:
        """Return a connection to a port of a container's loopback address (`Containers.dial`)."""
        return self._channels.call(container_id, lambda found: found.pid1.dial(port))

    def answers(self, container_id: str) -> bool:
        """Return whether the container's first process answers (`Containers.answers`)."""
        try:
            self._channels.call(container_id, lambda found: found.pid1.pid1_status())
        except (StepFailed, EngineUnavailable):
            return False
        return True

    def inspect(self, container_id: str) -> ContainerState:
        """Return the state of a container, also of one that does not exist (`Containers.inspect`)."""
        found = self._ask_of(container_id, lambda: self._api.inspect_container(container_id))
        return _state(found) if found else ContainerState(exists=False)

    def storage(self, container_id: str) -> Storage:
        """Return the host directories that a container writes to (`Containers.storage`)."""
        with translated():
            found = self._api.inspect_container(container_id)
        layer = ((found.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
        volumes = [mount["Source"] for mount in found.get("Mounts") or [] if mount["Type"] == "volume"]
        seen = [Path(path) for path in (layer, *volumes) if path and os.access(path, os.R_OK | os.X_OK)]
        return Storage(tuple(seen), layer_seen=bool(layer) and Path(str(layer)) in seen)

    def layer_bytes(self, container_id: str) -> int:
        """Return the bytes that a container wrote into its own layer (`Containers.layer_bytes`)."""
        with translated():
            found = self._api.containers(all=True, size=True, filters={"id": container_id})
        return sum(int(item.get("SizeRw") or 0) for item in found)

    def stop(self, container_id: str) -> None:
        """Kill every process of a container and keep its files (`Containers.stop`)."""
        self._channels.forget(container_id)
        self._host.unblock(container_id)
        self._ask_of(container_id, lambda: self._api.stop(container_id, timeout=0))

    def restart(self, container_id: str) -> None:
        """Stop a container if it runs, then start it (`Containers.restart`)."""
        self._retry.call(lambda: self._lifecycle.restart(container_id))

    def remove(self, container_id: str) -> None:
        """Remove a container and its volumes (`Containers.remove`)."""
        self._host.unblock(container_id)
        self._ask_of(container_id, lambda: self._lifecycle.remove(container_id))

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """Return the workspace containers that have this node's label (`Containers.list_ours`)."""
        filters = {"label": [f"{LABEL_NODE}={node_id}", f"{LABEL_ROLE}=workspace"]}
        found = self._ask(lambda: self._api.containers(all=True, filters=filters))
        return [
            OurContainer(item["Id"], item["Names"][0].lstrip("/"), item["State"] == "running", item["Labels"])
            for item in found
        ]

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return the result of ``question``, repeated while the engine is silent; None if it reports "not found"."""

        def ask() -> Any:
            with translated():
                try:
                    return question()
                except NotFound:
                    return None

        return self._retry.call(ask)

    def _ask_of(self, container_id: str, question: Callable[[], Any]) -> Any:
        """Return the result of ``question`` as `_ask` does, and unblock a hanging engine before each repetition.

        The engine may hang on a FIFO that a step put in the place of one of the container's files (`HostView.unblock`).
        """

        def ask() -> Any:
            try:
                return question()
            except requests.ReadTimeout:
                self._host.unblock(container_id)
                raise

        return self._ask(ask)


def _state(found: dict[str, Any]) -> ContainerState:
    state = found["State"]
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    running = bool(state["Running"])
    return ContainerState(
        exists=True,
        running=running,
        started_at=state.get("StartedAt"),
        exit_code=None if running else state.get("ExitCode"),
        address=next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), None),
        labels=found["Config"].get("Labels") or {},
    )
