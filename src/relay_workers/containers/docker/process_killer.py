"""Kills processes in a container with kill.sh inside it, and verifies the result from outside.

The container's own shell runs kill.sh, and a root step may have replaced that shell. Therefore its answers are limited
in length and time, the host's process table decides whether the kill succeeded, and a container that hinders kill.sh is
restarted.
"""

import time
from collections.abc import Callable

import docker
import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.attached import HelperConnection
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.docker.host_view import HostView
from relay_workers.containers.docker.killer import KillOutcome, KillStage, end_processes
from relay_workers.containers.docker.process_table import TOP, ContainerProcess, parse_top, processes_to_end
from relay_workers.containers.port import SUPERVISOR, EngineUnavailable, KillResult

_ANSWER_SECONDS = 10.0
"""The longest wait for one check of a container's process table by kill.sh, under any load."""
_KILLER_TRIES = 2
_AGAIN_SECONDS = 8.0
"""If kill.sh has failed and the grace period plus this time has passed since the start, it is not tried again."""
_REMOVAL_SECONDS = 5.0
_LOOK_SECONDS = 0.05

log = structlog.get_logger(__name__)


class ProcessKiller:
    """Kills processes in the containers of one engine; usable from many threads.

    Args:
        api: a client with a short timeout, because a container may block the engine.
        host: shows the containers' processes from the host.
        restart: restarts the container with the given id.
    """

    def __init__(self, api: docker.APIClient, host: HostView, restart: Callable[[str], None]) -> None:
        self._api = api
        self._host = host
        self._restart = restart

    def end(self, container_id: str, arguments: list[str], grace_seconds: float, first: KillStage) -> KillResult:
        """Kill the processes that ``arguments`` select; return once none is left.

        Args:
            container_id: any container; one that is gone or stopped has no processes.
            arguments: the arguments of kill.sh: ``only`` or ``except``, followed by gids.
            grace_seconds: the time between TERM and KILL.
            first: the stage to begin with; `KillStage.STOP` skips TERM.

        Raises:
            EngineUnavailable: the engine gives no answer, or cannot restart the container.
            StepFailed: the container cannot be restarted.
        """
        looks = 0
        deadline = time.monotonic() + grace_seconds + _AGAIN_SECONDS
        for _ in range(_KILLER_TRIES):
            try:
                outcome = self._run_killer(container_id, arguments, grace_seconds, first)
                looks += outcome.looks
                unseen = self._remaining(container_id, arguments) if outcome.remaining == 0 else []
                if not (outcome.remaining or unseen):
                    return KillResult(0, looks, restarted=False)
                left = {"remaining": outcome.remaining, "unseen": len(unseen)}
                log.warning("a kill has left processes", action="kill", container=container_id, **left)
            except (EngineUnavailable, StepFailed) as error:
                if isinstance(error, StepFailed) and error.reason == Reason.CONTAINER_MISSING:  # so nothing runs in it
                    return KillResult(0, looks, restarted=False)
                if isinstance(error, EngineUnavailable) and error.silent and not self._answers():
                    raise  # the engine itself is away, not only this container blocked
                log.warning("the killer did not work", action="kill", container=container_id, error=str(error))
            if time.monotonic() > deadline:
                break
        return KillResult(0, looks, restarted=self._end_all(container_id))

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

    def _run_killer(
        self, container_id: str, arguments: list[str], grace_seconds: float, first: KillStage
    ) -> KillOutcome:
        command = ["/bin/sh", f"{SUPERVISOR}/kill.sh", *arguments]
        with translated():
            created = self._api.exec_create(container_id, command, stdin=True, stderr=False, user="0:0", workdir="/")
        with HelperConnection(self._api, created["Id"], _ANSWER_SECONDS) as killer:
            return end_processes(killer.ask, grace_seconds, first)

    def _remaining(self, container_id: str, arguments: list[str]) -> list[ContainerProcess]:
        """Return the processes that the kill should have killed but did not, as seen from outside the container."""
        mode, *gids = arguments
        return processes_to_end(self.processes(container_id), mode, {int(gid) for gid in gids})

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
