"""Kills the processes of an execution through relay-pid1; from the host, if relay-pid1 does not answer in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import docker
import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.channels import Channels, OtherFirstProcess
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.docker.host_view import HostView
from relay_workers.containers.docker.process_table import TOP, ContainerProcess, parse_top
from relay_workers.containers.pid1.errors import UnknownExecution
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.port import EngineUnavailable, KillResult

_FREE_SECONDS = 0.5
"""The time after the grace period within which a kill usually ends. Then the container may make no more processes."""
_STARVED_SECONDS = 4.5
"""The time that the kill gets after that, before the container is ended from outside."""
_REMOVAL_SECONDS = 5.0
_LOOK_SECONDS = 0.05

log = structlog.get_logger(__name__)


class ProcessKiller:
    """Kills processes in the containers of one engine; usable from many threads.

    Args:
        api: a client with a short timeout, because a container may block the engine.
        channels: the containers' relay-pid1.
        host: shows the containers' processes from the host.
        restart: restarts the container with the given id.
    """

    def __init__(
        self, api: docker.APIClient, channels: Channels, host: HostView, restart: Callable[[str], None]
    ) -> None:
        self._api = api
        self._channels = channels
        self._host = host
        self._restart = restart

    def end(self, container_id: str, key: Key, grace_seconds: float) -> KillResult:
        """Kill the processes of an execution; return once none is left.

        Args:
            container_id: any container; one that is gone or stopped has no processes.
            key: the start of the execution.
            grace_seconds: the time between TERM and KILL.

        Raises:
            EngineUnavailable: the engine gives no answer, or cannot restart the container.
            StepFailed: the container cannot be restarted.
        """
        try:
            return self._kill(container_id, key, grace_seconds, grace_seconds + _FREE_SECONDS)
        except EngineUnavailable as error:
            if error.silent and not self._answers():
                raise  # the engine itself is away, not only this container slow
            log.warning("a kill takes long", action="kill", container=container_id, error=str(error))
        try:
            with self._without_forks(container_id):
                return self._kill(container_id, key, 0, _STARVED_SECONDS)
        except EngineUnavailable as error:
            log.warning("relay-pid1 did not end a kill", action="kill", container=container_id, error=str(error))
        return KillResult(0, 0, restarted=self._end_all(container_id))

    def _kill(self, container_id: str, key: Key, grace_seconds: float, seconds: float) -> KillResult:
        try:
            answer = self._channels.call(
                container_id, lambda found: found.pid1.kill(key, grace_seconds=grace_seconds, seconds=seconds)
            )
        except UnknownExecution:
            return KillResult(0, 0, restarted=False)
        except OtherFirstProcess:
            return KillResult(0, 0, restarted=self._end_all(container_id))
        except StepFailed as error:
            if error.reason == Reason.CONTAINER_MISSING:  # so nothing runs in it
                return KillResult(0, 0, restarted=False)
            raise
        return KillResult(0, answer.looks, restarted=False)

    @contextmanager
    def _without_forks(self, container_id: str) -> Iterator[None]:
        """Let no process of a container make another one within this block."""
        api: Any = self._api
        with translated():
            before = int(api.inspect_container(container_id)["HostConfig"]["PidsLimit"])
            self._set_pids(container_id, 1)
        try:
            yield
        finally:
            with translated():
                self._set_pids(container_id, before)

    def _set_pids(self, container_id: str, limit: int) -> None:
        # The SDK's method knows no pids limit.
        api: Any = self._api
        url = api._url("/containers/{0}/update", container_id)  # noqa: SLF001
        api._result(api._post_json(url, data={"PidsLimit": limit}), True)  # noqa: SLF001, FBT003

    def processes(self, container_id: str) -> list[ContainerProcess]:
        """Return a container's live processes, from the host's process table or else from the engine's ``top``.

        Raises:
            EngineUnavailable: the engine was asked and failed.
            StepFailed: ``container_missing``: the container is gone or does not run.
        """
        found = self._host.processes(container_id)
        if found is None:
            with translated():
                found = parse_top(self._api.top(container_id, TOP))
        return found

    def _answers(self) -> bool:
        """Return whether the engine answers a request that does not concern a container."""
        try:
            with translated():
                return bool(self._api.ping())
        except (EngineUnavailable, StepFailed):
            return False

    def _end_all(self, container_id: str) -> bool:
        """Kill all processes of a container and start it again; return False if it is being removed instead.

        They are killed from the host first, because files of the container may block the engine. If the processes were
        killed and the container cannot be started again, it stays stopped; the next step starts it.
        """
        log.warning("restarting a container to end its processes", action="kill", container=container_id)
        ended = self._host.end(container_id)
        try:
            self._restart(container_id)
        except (EngineUnavailable, StepFailed) as error:
            if isinstance(error, StepFailed) and error.reason is Reason.CONTAINER_MISSING:
                self._wait_for_removal(container_id)
                return False
            if not ended:
                raise
            log.warning("a container was ended and stays so", container=container_id, error=str(error))
        return True

    def _wait_for_removal(self, container_id: str) -> None:
        """Wait until no process is left in a container that is being removed.

        Raises:
            EngineUnavailable: processes are left after `_REMOVAL_SECONDS`, or the engine failed.
        """
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while True:
            try:
                if not self.processes(container_id):
                    return
            except StepFailed as error:
                if error.reason is Reason.CONTAINER_MISSING:
                    return
                raise
            if time.monotonic() > deadline:
                raise EngineUnavailable("a container that is being removed still has processes", retryable=True)
            time.sleep(_LOOK_SECONDS)  # no event tells of the end of another client's removal
