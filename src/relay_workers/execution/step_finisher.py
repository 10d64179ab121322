"""Finishes a step's process: kills what is left of it, reads its log to the end, and decides how it ended."""

from dataclasses import dataclass

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.capture.pump import CaptureEnd
from relay_workers.containers.pid1.messages import MalformedMessage
from relay_workers.containers.pid1.record import told
from relay_workers.containers.port import Containers
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end, lost_output
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.secret_refresh import SecretRefresh
from relay_workers.execution.watch import Act, Decision
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl

log = structlog.get_logger(__name__)

MOST_NAMES = 20
"""Largest number of processes left running that the line in the step's log names."""


@dataclass(frozen=True)
class StepEnd:
    """How a process ended; known once its whole log is stored."""

    exit_code: int | None
    reason: Reason | None
    """Why the step failed or was stopped; None if the process ended by itself with code 0."""
    log: CaptureEnd
    lost_output: bool
    """Whether some output is missing, because the node's disk was full or did not answer."""
    left: tuple[str, ...] = ()
    """Names of the processes that the step left running and that Relay then killed."""
    message: str | None = None
    """Text for clients that says more than the text of the reason; None if there is none."""


class StepFinisher:
    """Finishes steps whose process has ended or has to be stopped.

    Args:
        containers: the container engine in which they run.
        ender: kills processes.
        leases: confirm that this worker owns the execution, before its processes and repositories are touched.
        secrets: updates masks before texts of the step are stored.
        tail_seconds: how long a background process may hold the log open after the step has exited.
    """

    def __init__(
        self,
        containers: Containers,
        ender: ProcessEnder,
        leases: Leases,
        secrets: SecretRefresh,
        tail_seconds: float,
    ) -> None:
        self._containers = containers
        self._ender = ender
        self._leases = leases
        self._secrets = secrets
        self._tail_seconds = tail_seconds

    def finish(self, control: ExecutionControl, step: RunningStep, decision: Decision) -> StepEnd:
        """Kill what is left of the process, read its log to the end, and decide how it ended.

        Processes that a step leaves running must not run during the next step. They are killed before the log is
        closed, because one of them may hold the log open.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution now.
            RelayError: the processes cannot be killed, or that cannot be verified.
        """
        self._leases.confirm(control)
        stopped = decision.act is Act.STOP
        left: tuple[str, ...] = ()
        if not step.capture.over.is_set():  # the record is not read: its disk may hang, and a kill must go on
            left = () if stopped else self._left_behind(step)
            grace = step.place.workspace.row.limits.kill_grace_seconds if stopped else 0
            self._ender.end(step.place.processes, grace_seconds=grace)
        over = step.capture.await_over(self._tail_seconds)
        if over and left and step.turn is None:
            _say_what_was_left(step, left)
        log_end = step.capture.finish(0)
        try:
            record = step.place.files.read_record()
            blocked = not over and record is not None and record.ended is None and step.capture.told is not None
            if blocked and step.capture.told is not None:
                record = told(step.capture.told)
            exit_code, reason = judge_end(record, over=over)
        except MalformedMessage:
            blocked, record, (exit_code, reason) = False, None, ExitVerdict(None, Reason.LOG_TAMPERED)
        control.processes = None
        self._leases.confirm(control)  # reading the log may have taken long (Postgres away), and git is used next
        if control.secrets is not None:
            self._secrets.refresh([control.secrets])
        lost = (lost_output(record) and not stopped) or blocked
        reason = decision.reason or log_end.stopped_reason or reason
        return StepEnd(exit_code, reason, log_end, lost, left, _message(control, reason))

    def log_has_ended(self, step: RunningStep) -> bool:
        """Return whether relay-pid1 has copied both streams of a step to their ends; False if it does not answer."""
        processes = step.place.processes
        try:
            status = self._containers.status(processes.container_id, processes.key)
        except RelayError:
            return False
        return status.stdout.ended and status.stderr.ended

    def _left_behind(self, step: RunningStep) -> tuple[str, ...]:
        """Return the names of the processes that the step left running."""
        processes = step.place.processes
        try:
            return tuple(self._containers.leftover_names(processes.container_id, processes.key))
        except RelayError as error:
            log.warning("processes that a step left running cannot be listed", error=str(error))
            return ()


def _say_what_was_left(step: RunningStep, names: tuple[str, ...]) -> None:
    """Add a line with the processes that a script left running to its log. The log of an agent gets no such line."""
    count, end = (f"{len(names)} processes", "end") if len(names) > 1 else ("1 process", "ends")
    line = f"relay: {count} that this step left running {end} with it: {', '.join(names[:MOST_NAMES])}\n"
    try:
        step.place.files.append(Stream.STDERR, line.encode())
    except OSError as error:
        log.warning("the log gets no line about processes left running", error=str(error))


def _message(control: ExecutionControl, reason: Reason | None) -> str | None:
    """Return the text given with the request that ended the step; None if the step did not end by it."""
    asked = control.ended_by
    return None if asked is None or asked.reason is not reason else asked.message
