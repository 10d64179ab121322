"""Finishes a step's process: kills what is left of it, reads its log to the end, and decides how it ended."""

import time
from dataclasses import dataclass

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.capture.pump import CaptureEnd
from relay_workers.containers.port import Containers
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.secret_refresh import SecretRefresh
from relay_workers.execution.watch import Act, Decision
from relay_workers.host_files.run_dir import ExitRecord
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl

log = structlog.get_logger(__name__)

ENGINE_NOTICES_SECONDS = 1.0
"""Seconds within which the container engine notices that a process has ended."""
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
    """Whether some output is missing, because a copier in the container could not write it."""
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
        closed, because one of them may hold the log open: the supervisor exits once none of them has the log open any
        more.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution now.
            RelayError: the processes cannot be killed, or that cannot be verified.
        """
        self._leases.confirm(control)
        stopped = decision.act is Act.STOP
        left = () if stopped else self._left_behind(step)
        grace = step.place.workspace.row.limits.kill_grace_seconds if stopped else 0
        self._ender.end(step.place.processes, grace_seconds=grace)
        log_end = step.capture.finish(self._tail_seconds)
        record = _read_record(step)
        exit_code, reason = self._judge(step, record)
        control.processes = None
        self._leases.confirm(control)  # reading the log may have taken long (Postgres away), and git is used next
        if control.secrets is not None:
            self._secrets.refresh([control.secrets])
        lost = isinstance(record, ExitRecord) and record.lost_output and not stopped
        reason = decision.reason or log_end.stopped_reason or reason
        return StepEnd(exit_code, reason, log_end, lost, left, _message(control, reason))

    def _left_behind(self, step: RunningStep) -> tuple[str, ...]:
        """Return the names of processes that the step left running, and add a line with them to the log of a script.

        The log of an agent does not get this line.
        """
        processes = step.place.processes
        try:
            names = tuple(self._containers.leftover_names(processes.container_id, processes.gid))
            if names and step.turn is None:
                count, end = (f"{len(names)} processes", "end") if len(names) > 1 else ("1 process", "ends")
                line = f"relay: {count} that this step left running {end} with it: {', '.join(names[:MOST_NAMES])}\n"
                step.place.run_dir.append(Stream.STDERR, line.encode())
        except (RelayError, OSError) as error:
            log.warning("processes that a step left running cannot be listed", error=str(error))
            return ()
        return names

    def _judge(self, step: RunningStep, record: ExitRecord | TamperedFile | None) -> ExitVerdict:
        if isinstance(record, TamperedFile):
            return ExitVerdict(None, Reason.LOG_TAMPERED)
        dead = step.capture.supervisor_dead.wait(ENGINE_NOTICES_SECONDS)
        found = judge_end(record, self._engine_exit(step), supervisor_alive=not dead and record is not None)
        if found.reason is Reason.SUPERVISOR_LOST and self._container_ends(step):
            return ExitVerdict(None, Reason.CONTAINER_MISSING)
        return found

    def _container_ends(self, step: RunningStep) -> bool:
        """Return whether the container has stopped, too.

        The engine may list a stopped container as running for a moment.
        """
        deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
        while self._containers.inspect(step.place.workspace.container_id).running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _engine_exit(self, step: RunningStep) -> int | None:
        """Return the exit code that the container engine reports; None if it has none.

        The engine notices an exit shortly after the supervisor is dead and sends no event about it, so it is polled.
        """
        if step.exec_id is None:
            return None
        deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
        while (state := self._containers.exec_state(step.exec_id)) is not None:
            if not state.running:
                return state.exit_code
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        return None


def _read_record(step: RunningStep) -> ExitRecord | TamperedFile | None:
    try:
        return step.place.run_dir.read_exit()
    except TamperedFile as error:
        return error


def _message(control: ExecutionControl, reason: Reason | None) -> str | None:
    """Return the text given with the request that ended the step; None if the step did not end by it."""
    asked = control.ended_by
    return None if asked is None or asked.reason is not reason else asked.message
