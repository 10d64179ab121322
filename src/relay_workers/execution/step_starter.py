"""Starts the process of a step, and finds out whether it really started."""

import time
from contextlib import suppress

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimed
from relay_workers.containers.port import Containers, EngineUnavailable, StepStart
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.step_place import StepPlace
from relay_workers.metrics import Metrics
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

log = structlog.get_logger(__name__)


def heed_kill(control: ExecutionControl) -> None:
    """Raise an error if a kill was requested.

    Raises:
        StepFailed: `user`: the execution was killed.
    """
    if control.kill.is_set():
        raise StepFailed(Reason.USER, "killed before it started")


class StepStarter:
    """Starts the processes of steps.

    Args:
        settings: time-outs.
        containers: the container engine in which the processes run.
        leases: confirm that this worker owns the execution, right before the start.
        metrics: counts starts.
    """

    def __init__(self, settings: Settings, containers: Containers, leases: Leases, metrics: Metrics) -> None:
        self._settings = settings
        self._containers = containers
        self._leases = leases
        self._metrics = metrics

    def start(self, claimed: Claimed, control: ExecutionControl, step: RunningStep, request: StepStart) -> None:
        """Start the process of a step and return once its program is being executed. Sets `began` of the step.

        Raises:
            StepFailed: the process was not started and cannot start any more. `user`: a kill was requested before.
            OwnershipLost: another worker owns the execution; or the container gave no answer, and the adoption sweep
                will find out whether the step was started.
        """
        self._leases.confirm(control)
        heed_kill(control)
        control.processes = step.place.processes  # from here on, a process may run
        try:
            self._containers.start(step.place.workspace.container_id, request)
        except StepFailed:
            control.processes = None
            heed_kill(control)
            raise
        except EngineUnavailable as error:
            log.warning("the container fell silent at a start", error=str(error))
            if self._rule_out(step.place):
                control.processes = None
                heed_kill(control)
                raise self._not_started(claimed) from error
        step.began = time.monotonic()
        step.capture.has_started()
        self.watch(step)
        self._metrics.started(claimed.run_reason, control.made_at)

    def watch(self, step: RunningStep) -> None:
        """Let the container tell of the end of a step, in case the disk with its record does not answer."""
        place = step.place
        step.unwatch = self._containers.watch(place.workspace.container_id, place.files.key, step.capture.hear)

    def has_started(self, place: StepPlace) -> bool:
        """Return whether an earlier owner started the process of a step. If not, its start is ruled out from now on.

        Raises:
            FileNotFoundError: the record of the step was removed.
            MalformedMessage: the record is damaged.
            EngineUnavailable: the container gives no answer, and the record does not tell.
        """
        record = place.files.read_record()
        if record is None:
            raise FileNotFoundError
        if record.started or record.ended:
            return True
        try:
            ruled_out = self._containers.forbid(place.workspace.container_id, place.files.key)
        except StepFailed as error:
            if error.reason is not Reason.CONTAINER_MISSING:
                raise
            return True  # it may have started just before its container ended: a second start could do things twice
        if ruled_out:
            with suppress(OSError):  # the divergence sweep removes them
                place.files.remove()
        return not ruled_out

    def _rule_out(self, place: StepPlace) -> bool:
        """Prevent a start whose answer is missing; return False if it has happened.

        Raises:
            OwnershipLost: that cannot be found out now.
        """
        try:
            return self._containers.forbid(place.workspace.container_id, place.files.key)
        except EngineUnavailable as error:
            raise OwnershipLost(f"it is unknown whether the step was started: {error}") from error

    def _not_started(self, claimed: Claimed) -> StepFailed | OwnershipLost:
        """Return the error to raise after a start without an answer was ruled out."""
        if claimed.seconds_running < self._settings.engine_patience_seconds:
            return OwnershipLost(
                "the container gave no answer to the start, and nothing was started: the execution is started again"
            )
        return StepFailed(Reason.ENGINE_ERROR, "the container did not answer when the step was started")
