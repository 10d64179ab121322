"""Runs Relay's own tools in hardened, short-lived containers.

The output is attached before the start and read to its end, so no log driver is needed and the exit is noticed at once.
Other threads remove the containers after `run` has returned. On Docker Engine 20.10 a run of ``true`` takes 0.1 s.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import docker
import requests
import structlog
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig, Mount

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.port import EngineUnavailable
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.containers.tool import ToolResult, ToolRun

TOOL_LABEL = "relay.tool"
OWNER_LABEL = "relay.tool.worker"
"""The label with the owner: the incarnation (one run of a worker process) that runs the tool."""
_REMOVED_PER_SWEEP = 20
_OUTPUT_LIMIT = 1 << 20
_ERRORS_LIMIT = 16 << 10
_CANCEL_POLL_SECONDS = 0.1
_END_SECONDS = 10
_KILLED = 137
_NOT_FOUND = 127
_NO_PROGRAM = re.compile("executable file not found|no such file or directory|permission denied", re.IGNORECASE)
"""Error texts of the runtimes runc and crun if the image lacks the program; recorded from Docker Engine 20.10."""

log = structlog.get_logger()


class DockerToolRunner:
    """Implements `ToolRunner` on a Docker engine. One per worker process, usable from many threads.

    Args:
        client: a client of the engine.
        retry: repeats a run that was interrupted because the engine stopped answering; None repeats none.
        owner: the incarnation of this worker. Containers are labelled with it, so that another worker's `sweep` can
            remove them after this worker's death.
    """

    def __init__(self, client: docker.DockerClient, retry: RetryWhileSilent | None = None, owner: str = "") -> None:
        self._api = client.api
        self._labels = {TOOL_LABEL: "1", OWNER_LABEL: owner}
        self._retry = retry or RetryWhileSilent()
        self._removals = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tool-removal")

    def run(self, spec: ToolRun, cancelled: Event | None = None) -> ToolResult:
        """Run a tool until it exits, its timeout passes or it is cancelled (`ToolRunner.run`).

        If the engine stops answering, the run is started again from the beginning.
        """
        try:
            return self._retry.call(lambda: self._run_once(spec, cancelled or Event()))
        except EngineUnavailable as error:
            raise StepFailed(Reason.ENGINE_ERROR, str(error)) from error

    def _run_once(self, spec: ToolRun, cancelled: Event) -> ToolResult:
        with _engine_errors(spec.image):
            container = self._create(spec)
            try:
                return self._run(container, spec, cancelled)
            finally:
                self._removals.submit(self._remove, container)

    def sweep(self, is_dead: Callable[[str], bool]) -> int:
        """Remove some stopped tool containers of dead workers; return their number (`ToolRunner.sweep`).

        A container that still runs is removed by a later sweep.
        """
        with _engine_errors(""):
            filters = {"label": [f"{TOOL_LABEL}=1"], "status": ["created", "exited", "dead"]}
            found = {
                item["Id"]: item["Labels"].get(OWNER_LABEL) for item in self._api.containers(all=True, filters=filters)
            }
        left = [container for container, owner in found.items() if owner and is_dead(owner)][:_REMOVED_PER_SWEEP]
        for container in left:
            self._remove(container)
        return len(left)

    def close(self) -> None:
        """Wait for the removals that are in progress."""
        self._removals.shutdown(wait=True)

    def _create(self, spec: ToolRun) -> str:
        answer = self._api.create_container(
            image=spec.image,
            command=list(spec.argv),
            entrypoint=[],
            environment=dict(spec.env),
            user=spec.user,
            working_dir="/",
            network_disabled=True,
            labels={**spec.labels, **self._labels},
            host_config=self._host_config(spec),
        )
        return str(answer["Id"])

    def _host_config(self, spec: ToolRun) -> Any:
        return self._api.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            cap_add=list(spec.capabilities),
            security_opt=["no-new-privileges"],
            mem_limit=spec.memory_bytes,
            memswap_limit=spec.memory_bytes,
            nano_cpus=2_000_000_000,
            pids_limit=256,
            tmpfs={"/tmp": f"rw,nosuid,nodev,size={spec.tmpfs_bytes},mode=1777"},  # noqa: S108 - the container's own
            mounts=[Mount(m.target, m.source, type="bind", read_only=m.read_only) for m in spec.mounts],
            log_config=LogConfig(type="none"),
            ipc_mode="none",
        )

    def _run(self, container: str, spec: ToolRun, cancelled: Event) -> ToolResult:
        reader = _OutputReader(self._api.attach(container, stream=True, logs=False, demux=True))
        try:
            self._api.start(container)
        except APIError as error:
            if _NO_PROGRAM.search(str(error)):
                return ToolResult(_NOT_FOUND, b"", f"the image has no {spec.argv[0]}".encode())
            raise
        reader.start()
        deadline = time.monotonic() + spec.timeout_seconds + 1
        while reader.is_alive() and time.monotonic() < deadline and not cancelled.is_set():
            reader.join(min(_CANCEL_POLL_SECONDS, max(0, deadline - time.monotonic())))
        stopped = reader.is_alive()
        if stopped:
            self._kill(container)
            reader.join(_END_SECONDS)
        exit_code = int(self._api.wait(container, timeout=_END_SECONDS)["StatusCode"])
        killed = exit_code == _KILLED
        # True also if only a child of the tool was killed and the tool itself exited by itself.
        oom = not stopped and bool(self._api.inspect_container(container)["State"]["OOMKilled"])
        return ToolResult(
            exit_code=exit_code,
            output=bytes(reader.output),
            errors=bytes(reader.errors),
            oom=oom,
            timed_out=(stopped and not cancelled.is_set()) or (killed and not oom and not stopped),
            cancelled=stopped and cancelled.is_set(),
        )

    def _kill(self, container: str) -> None:
        try:
            self._api.kill(container)
        except APIError as error:  # the container exited meanwhile
            log.debug("tool container had ended before it was killed", action="tool_kill", error=str(error))

    def _remove(self, container: str) -> None:
        try:
            self._api.remove_container(container, v=True, force=True)
        except NotFound:
            return
        except (DockerException, requests.RequestException) as error:
            log.warning("cannot remove a tool container", action="tool_remove", container=container, error=str(error))


class _OutputReader(Thread):
    """Thread that reads the output of an attached container to its end and keeps a bounded part of it."""

    def __init__(self, frames: Iterator[tuple[bytes | None, bytes | None]]) -> None:
        super().__init__(name="tool-output", daemon=True)
        self._frames = frames
        self._log = log.bind(**structlog.contextvars.get_contextvars())  # a new thread has no context
        self.output = bytearray()
        self.errors = bytearray()

    def run(self) -> None:
        try:
            for stdout, stderr in self._frames:
                self.output += (stdout or b"")[: _OUTPUT_LIMIT - len(self.output)]
                self.errors = (self.errors + (stderr or b""))[-_ERRORS_LIMIT:]
        except (DockerException, requests.RequestException, OSError) as error:  # the exit code is requested next
            self._log.warning("lost the output of a tool container", action="tool_output", error=str(error))


@contextmanager
def _engine_errors(image: str) -> Iterator[None]:
    """Translate errors of the engine (`translated`); the loss of a tool's container is a failure of the engine."""
    try:
        with translated():
            yield
    except StepFailed as error:
        if isinstance(error.__cause__, ImageNotFound):
            message = f"the image {image} is not on this node; build it with 'relay up' or set RELAY_GIT_IMAGE"
            raise StepFailed(Reason.IMAGE_UNAVAILABLE, message) from error
        if error.reason is Reason.CONTAINER_MISSING:
            raise StepFailed(Reason.ENGINE_ERROR, str(error)) from error
        raise
