"""Carries out one step with a process in the workspace's container: a script, a coding agent or a dev server.

`StepSession.run` reads top to bottom: attach or start, wait, finish, outcome. `dev_server` extends it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.kill import request_kill
from relay_core.store.transaction import Database
from relay_workers.containers.pid1.messages import MalformedMessage
from relay_workers.execution.evidence import EvidenceCollector
from relay_workers.execution.outcome import CAP_MESSAGES, Outcome
from relay_workers.execution.running_step import RunningStep, StepOutputs
from relay_workers.execution.step_finisher import StepEnd, StepFinisher
from relay_workers.execution.step_preparation import StepPreparation
from relay_workers.execution.step_starter import StepStarter, heed_kill
from relay_workers.execution.watch import FIRST_ASK_SECONDS, Act, Decision, Look, decide
from relay_workers.execution.workspace import Workspaces
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

log = structlog.get_logger(__name__)

RECORD_READ_SECONDS = 1.0
"""Seconds to wait for the first look at the record after attaching: the step may have ended already."""
FIRST_EDITION = "this node was upgraded while it ran, and the new version of Relay cannot follow it; start it again"


@dataclass(frozen=True)
class StepParts:
    """The parts of a worker that carry out steps; all sessions share them."""

    workspaces: Workspaces
    preparation: StepPreparation
    outputs: StepOutputs
    starter: StepStarter
    finisher: StepFinisher
    evidence: EvidenceCollector
    database: Database
    tail_seconds: float
    """Seconds for which a background process may hold the log open after the step has exited."""


class StepSession:
    """Carries out the step of one claimed execution.

    Args:
        parts: the worker's parts that carry out steps.
        claimed: the execution.
        control: the execution's control, by which other threads stop it.
    """

    def __init__(self, parts: StepParts, claimed: Claimed, control: ExecutionControl) -> None:
        self.parts = parts
        self.claimed = claimed
        self.control = control

    def run(self) -> Outcome:
        """Carry out the step and return the outcome to be written.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down; the process goes on.
            Stale: another worker owns the execution now.
            StepFailed: the step could not be started, or its log files are gone.
        """
        step = self.attach() or self.start()
        try:
            decision = self.wait(step)
            end = self.finish(step, decision)
            return self.outcome(step, end)
        finally:
            self.detach(step)

    def attach(self) -> RunningStep | None:
        """Attach to the process that an earlier owner started.

        Returns:
            The running step. None if the earlier owner started no process; if its start is still under way, that start
            is prevented.

        Raises:
            StepFailed: `log_tampered`: its log files are gone or changed; `workspace_gone`: the workspace's directory
                is gone; `secret_missing`: a value to mask cannot be decrypted; `supervisor_lost`: it was started by a
                version of Relay whose processes this version cannot follow.
        """
        if not self.claimed.adopted:
            return None
        workspace = self.parts.workspaces.attend(self.claimed.workspace_id)
        handle = self.claimed.handle
        if handle.fence is None:
            return None
        place = self.parts.preparation.place(self.claimed, workspace, handle.fence)
        self.control.disk, self.control.processes = place.disk_cap, place.processes
        if handle.of_first_edition:
            raise StepFailed(Reason.SUPERVISOR_LOST, FIRST_EDITION)
        try:
            if not self.parts.starter.has_started(place):
                self.control.processes = None
                return None
            step = self.parts.outputs.attach(self.claimed, self.control, place, started=True)
        except (FileNotFoundError, TamperedFile, MalformedMessage) as error:
            raise StepFailed(Reason.LOG_TAMPERED, CAP_MESSAGES[Reason.LOG_TAMPERED]) from error
        self.parts.starter.watch(step)
        step.capture.heard.wait(RECORD_READ_SECONDS)  # before time limits are checked: it may have ended in time
        step.began = time.monotonic() - self.claimed.seconds_running
        return step

    def start(self, extra_env: Mapping[str, str] | None = None) -> RunningStep:
        """Start a new process and return once its program is being executed.

        Args:
            extra_env: variables that override all others; None for none.

        Raises:
            StepFailed: the process cannot be started, with the reason.
            OwnershipLost: another worker owns the execution, or will take it over.
        """
        heed_kill(self.control)
        workspace = self.parts.workspaces.open(self.claimed.workspace_id, self.control.stop)
        place, request = self.parts.preparation.prepare(self.claimed, workspace, extra_env or {})
        self.control.disk = place.disk_cap
        step = self.parts.outputs.attach(self.claimed, self.control, place, started=False)
        try:
            self.parts.starter.start(self.claimed, self.control, step, request)
        except BaseException:
            self.detach(step)
            raise
        return step

    def wait(self, step: RunningStep) -> Decision:
        """Wait until the process has ended or has to be stopped; return which.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
        """
        limits = step.place.workspace.row.limits
        has_deadline = self.claimed.run_reason is not RunReason.DEV_SERVER
        while True:
            self.control.wake.clear()  # cleared before the check, so that an event during the check is not lost
            look = self._look(step)
            decision = decide(look, limits, has_deadline=has_deadline, tail_seconds=self.parts.tail_seconds)
            if decision.act is Act.LEAVE:
                raise OwnershipLost
            if decision.act is not Act.WAIT:
                break
            self.control.wake.wait(decision.wait_seconds)
        if decision.reason is Reason.USER:  # Celery's revoke sets the control first; the row may lack the kill
            with self.parts.database.begin() as connection:
                request_kill(connection, self.claimed.execution_id, "the worker's control")
        return decision

    def finish(self, step: RunningStep, decision: Decision) -> StepEnd:
        """Kill all processes of the step, read its log to the end, and find out how it ended.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution now.
            RelayError: the processes cannot be killed.
        """
        return self.parts.finisher.finish(self.control, step, decision)

    def outcome(self, step: RunningStep, end: StepEnd) -> Outcome:
        """Return the transition and its evidence: the agent's result, HEAD commits, patches and the size of the log."""
        return self.parts.evidence.outcome(self.claimed, step, end)

    def detach(self, step: RunningStep) -> None:
        """Stop watching the step. A process that still runs goes on."""
        self.parts.outputs.detach(step)

    def _look(self, step: RunningStep) -> Look:
        now = time.monotonic()
        capture = step.capture
        ended, gone, seconds_ended = capture.exited.is_set(), capture.over.is_set(), capture.seconds_exited
        asks = ended and not gone and seconds_ended >= FIRST_ASK_SECONDS
        return Look(
            ended=ended,
            gone=gone,
            log_ended=asks and self.parts.finisher.log_has_ended(step),
            seconds_ended=seconds_ended,
            kill_asked=self.control.kill.is_set(),
            lost=self.control.lost.is_set() or capture.stale,
            capture_stopped=capture.stopped_reason,
            capped=None if self.control.ended_by is None else self.control.ended_by.reason,
            seconds_running=now - step.began,
            seconds_silent=now - max(step.began, capture.last_output),
        )
