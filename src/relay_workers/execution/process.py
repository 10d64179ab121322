"""A run with a process in the workspace's container: setup, agent, cleanup and archive scripts; dev servers share it.

Reads top down: begin (before-heads → start, or attach to what runs) → capture → wait → drain → evidence → outcome.
"""

import time

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import Reason, RunReason, Stream
from relay_core.store.executions import lifecycle
from relay_core.store.executions.lifecycle import Claimed
from relay_workers.execution import evidence, live_secrets
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import end_processes
from relay_workers.execution.exit_verdict import End, judge_end
from relay_workers.execution.outcome import LetGo, Outcome
from relay_workers.execution.running import Ended, Running
from relay_workers.execution.starting import begin
from relay_workers.execution.watch import Act, Decision, Seen, decide
from relay_workers.host_files.run_dir import ExitRecord
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership import leases
from relay_workers.ownership.live_executions import Control

log = structlog.get_logger(__name__)

ENGINE_NOTICES_SECONDS = 1.0
MOST_NAMES = 20


def run(context: WorkerContext, claimed: Claimed, control: Control) -> Outcome:
    """Carry out one step from before-heads to evidence."""
    running = begin(context, claimed, control)
    try:
        decision = wait(context, claimed, control, running)
        ended = end(context, control, running, decision)
        return evidence.outcome(context, claimed, running, ended)
    finally:
        running.leave(context)


def wait(context: WorkerContext, claimed: Claimed, control: Control, running: Running) -> Decision:
    """Until the process has ended, or has to be ended."""
    limits = running.workspace.row.limits
    has_deadline = claimed.run_reason is not RunReason.DEV_SERVER
    while True:
        control.wake.clear()  # before looking: an event after the look is then not lost
        seen = _look(control, running)
        decision = decide(seen, limits, has_deadline=has_deadline, tail_seconds=context.settings.log_tail_seconds)
        if decision.act is Act.LEAVE:
            raise LetGo
        if decision.act is not Act.WAIT:
            break
        control.wake.wait(decision.wait_seconds)
    if decision.reason is Reason.USER:
        # Flower's Terminate comes without a row that says so; the API's kill has written it already.
        with context.database.begin() as connection:
            lifecycle.request_kill(connection, claimed.execution_id, "the worker's control")
    return decision


def _look(control: Control, running: Running) -> Seen:
    now = time.monotonic()
    capture = running.capture
    return Seen(
        ended=capture.exited.is_set(),
        gone=capture.supervisor_dead.is_set(),
        seconds_ended=capture.seconds_exited,
        kill_asked=control.kill.is_set(),
        lost=control.lost.is_set() or capture.stale,
        capture_stopped=capture.stopped_reason,
        capped=control.ended_by,
        seconds_running=now - running.began,
        seconds_silent=now - max(running.began, capture.last_output),
    )


def end(context: WorkerContext, control: Control, running: Running, decision: Decision) -> Ended:
    """End what is left of the process, read its log to the end, and say how it ended."""
    leases.confirm(context, control)
    stopped = decision.act is Act.STOP
    left = () if stopped else _left_behind(context, running)
    # What a step leaves behind must not run beside the next one. It goes before the log is closed: what holds that open
    # is among it, and the supervisor ends by itself when the last of them has let go.
    grace = running.workspace.row.limits.kill_grace_seconds if stopped else 0
    end_processes(context, running.processes, grace_seconds=grace)
    log = running.capture.finish(context.settings.log_tail_seconds)
    record = _read_record(running)
    code, reason = _judge(context, running, record)
    control.processes = None
    leases.confirm(context, control)  # reading may have waited for Postgres, and git comes next
    if control.secrets is not None:  # what is stored of it from here on is masked as of now
        live_secrets.refresh(context, [control.secrets])
    lost = isinstance(record, ExitRecord) and record.lost_output and decision.act is not Act.STOP
    return Ended(code, decision.reason or log.stopped_reason or reason, log, lost, left)


def _left_behind(context: WorkerContext, running: Running) -> tuple[str, ...]:
    """Names of the processes that are about to be ended with their step, told in the log of one that is no agent's."""
    processes = running.processes
    try:
        names = tuple(context.containers.leftover_names(processes.container_id, processes.gid))
        if names and running.turn is None:
            count, end = (f"{len(names)} processes", "end") if len(names) > 1 else ("1 process", "ends")
            told = f"relay: {count} that this step left running {end} with it: {', '.join(names[:MOST_NAMES])}\n"
            running.run_dir.append(Stream.STDERR, told.encode())
    except (RelayError, OSError) as error:
        log.warning("what a step has left running is not told", error=str(error))
        return ()
    return names


def _read_record(running: Running) -> ExitRecord | TamperedFile | None:
    try:
        return running.run_dir.read_exit()
    except TamperedFile as error:
        return error


def _judge(context: WorkerContext, running: Running, record: ExitRecord | TamperedFile | None) -> End:
    if isinstance(record, TamperedFile):
        return End(None, Reason.LOG_TAMPERED)
    dead = running.capture.supervisor_dead.wait(ENGINE_NOTICES_SECONDS)
    found = judge_end(record, _engine_exit(context, running), supervisor_alive=not dead and record is not None)
    if found.reason is Reason.SUPERVISOR_LOST and _container_ends(context, running):
        return End(None, Reason.CONTAINER_MISSING)
    return found


def _container_ends(context: WorkerContext, running: Running) -> bool:
    """Whether the supervisor went with its container, which the engine shows as running for a moment yet."""
    deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
    while context.containers.inspect(running.workspace.container_id).running:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _engine_exit(context: WorkerContext, running: Running) -> int | None:
    """The exit code as the engine knows it; it notices a moment after the supervisor is dead, and tells nobody."""
    if running.exec_id is None:
        return None
    deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
    while (state := context.containers.exec_state(running.exec_id)) is not None:
        if not state.running:
            return state.exit_code
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return None
