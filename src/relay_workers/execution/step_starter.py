"""Starts the process of a step through its supervisor, and finds out whether it really started."""

import time

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimed
from relay_workers.containers.port import Containers, EngineUnavailable, StepStart
from relay_workers.execution.ending import starting
from relay_workers.execution.running_step import RunningStep
from relay_workers.metrics import Metrics
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

log = structlog.get_logger(__name__)

SILENT_START_SECONDS = 2.0
"""Seconds to wait for a step whose start the container engine did not confirm, before its start is ruled out."""


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
        settings: time-outs, and the data directory with the start locks of workspaces.
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
        """Start the process of a step and return once its supervisor has started.

        Sets `exec_id` and `began` of the step.

        If a kill is requested meanwhile, this does not wait for the supervisor. If the supervisor has not started by
        then, its start is ruled out.

        Raises:
            StepFailed: `user`, `start_failed` or `engine_error`: the process was not started and cannot start any more.
            OwnershipLost: another worker owns the execution; or the container engine did not answer, the start was
                ruled out, and the adoption sweep will start the step again.
        """
        with starting(self._settings.data_dir, claimed.workspace_id):
            self._leases.confirm(control)
            heed_kill(control)
            control.processes = step.place.processes  # from here on, a process may run
            step.exec_id = self._start(step, request)
            step.began = time.monotonic()
            self._await_start(control, step)
            if not step.capture.started.is_set() and step.place.run_dir.declare_never_started():
                control.processes = None
                heed_kill(control)
                raise self._failed_start(claimed, step)
        self._metrics.started(claimed.run_reason, control.made_at)

    def _start(self, step: RunningStep, request: StepStart) -> str | None:
        """Ask the container engine once to start the process; return its exec id.

        Returns None if the engine did not answer; the process may then have started or not.
        """
        try:
            return self._containers.start(step.place.workspace.container_id, request)
        except EngineUnavailable as error:
            log.warning("the engine fell silent at a start", error=str(error))
            return None

    def _await_start(self, control: ExecutionControl, step: RunningStep) -> None:
        """Wait for the supervisor's own report.

        The engine confirms a detached start even if it failed, so that is no proof.
        """
        seconds = SILENT_START_SECONDS if step.exec_id is None else self._settings.start_timeout_seconds
        deadline = time.monotonic() + seconds
        while not step.capture.started.is_set() and not control.kill.is_set() and time.monotonic() < deadline:
            control.wake.wait(max(0.0, deadline - time.monotonic()))
            control.wake.clear()

    def _failed_start(self, claimed: Claimed, step: RunningStep) -> StepFailed | OwnershipLost:
        """Return the error to raise after a start was ruled out. A supervisor that starts later exits immediately."""
        if step.exec_id is None:
            if claimed.seconds_running < self._settings.engine_patience_seconds:
                return OwnershipLost(
                    "the engine gave no answer to the start, and nothing was started: the execution is started again"
                )
            return StepFailed(Reason.ENGINE_ERROR, "the container engine did not answer when the step was started")
        state = self._containers.exec_state(step.exec_id)
        code = f" (exec ended with {state.exit_code})" if state is not None and not state.running else ""
        return StepFailed(
            Reason.START_FAILED,
            f"the step did not start within {self._settings.start_timeout_seconds:g} s{code}; "
            "a script that ran as root may have replaced /bin/sh",
        )
