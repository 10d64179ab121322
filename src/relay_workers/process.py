"""A run with a process in the workspace's container: setup, agent, cleanup and archive scripts; dev servers share it.

Reads top down: begin (before-heads → start, or attach to what runs) → capture → wait → drain → evidence → outcome.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from relay_core.domain import execution as machine
from relay_core.domain.chain import Step
from relay_core.domain.errors import InvalidInput, RelayError, StepFailed
from relay_core.domain.execution import Transition
from relay_core.domain.executor_names import ExecutorChoice, check_executor
from relay_core.domain.masking import SecretMask
from relay_core.domain.vocabulary import Reason, RunReason, Stream
from relay_core.postgres import executions, lifecycle, secrets, sessions
from relay_core.postgres.lifecycle import Claimed
from relay_workers import evidence, leases, live_secrets
from relay_workers.capture.pump import Capture, CaptureEnd, CaptureRequest
from relay_workers.context import WorkerContext
from relay_workers.disk import DiskCap
from relay_workers.ending import Processes, end_processes, starting
from relay_workers.engine.judge import End, judge_end
from relay_workers.engine.port import EngineUnavailable, StepStart
from relay_workers.environment import step_environment
from relay_workers.executors.port import StepPlan, TurnRequest
from relay_workers.executors.registry import get_executor, reader_of
from relay_workers.hostfs import Tampered
from relay_workers.live import Control
from relay_workers.live_secrets import LiveSecrets
from relay_workers.outcome import CAP_MESSAGES, LetGo, Outcome
from relay_workers.raw_output import RawOutput
from relay_workers.rundir import ExitRecord, Owner, RunDir, prepare_run_dir
from relay_workers.secret_values import Grant, grant, to_mask
from relay_workers.turn import Turn
from relay_workers.watch import Act, Decision, Seen, decide
from relay_workers.working_dir import check_working_dir
from relay_workers.workspace import WorkspaceHandle, open_workspace

log = structlog.get_logger(__name__)

ENGINE_NOTICES_SECONDS = 1.0
SILENT_START_SECONDS = 2.0
"""For a step to begin whose start the engine did not confirm, before it is ruled out and begun anew."""
MOST_NAMES = 20
CRLF_HINT = "; its lines end with carriage returns (CRLF), which a shell takes for a part of its words: save it with LF"
IN_BACKGROUND = "its script ended and left the server in the background, which ends with it: start it in the foreground"
NEVER_SERVED = "it ended with code 0 before anything listened on $PORT; the script has to stay as long as the server"


@dataclass
class Running:
    """A started process and what watches it."""

    workspace: WorkspaceHandle
    run_dir: RunDir
    capture: Capture
    exec_id: str | None
    """None where the worker that started it could not note it any more."""
    mask: SecretMask
    """For what is stored of it."""
    processes: Processes
    turn: Turn | None = None
    """Of a coding agent."""
    began: float = field(default_factory=time.monotonic)
    answered: bool = False
    """A dev server's port has answered."""

    def leave(self, context: WorkerContext) -> None:
        """Watch it no longer; the process goes on, if it still runs."""
        if self.turn is not None:
            self.turn.close()
        context.pump.detach(self.capture)


@dataclass(frozen=True)
class Ended:
    """What is known of a process after its log is drained."""

    exit_code: int | None
    reason: Reason | None
    """Null when it ended by itself with code 0."""
    log: CaptureEnd
    lost_output: bool
    """A copier in the container could not write everything."""
    left: tuple[str, ...] = ()
    """Names of the processes that it left running, and that were ended."""


def run(context: WorkerContext, claimed: Claimed, control: Control) -> Outcome:
    """Carry out one step from before-heads to evidence."""
    running = begin(context, claimed, control)
    try:
        decision = wait(context, claimed, control, running)
        ended = end(context, control, running, decision)
        return evidence.outcome(context, claimed, running, ended)
    finally:
        running.leave(context)


def begin(
    context: WorkerContext, claimed: Claimed, control: Control, extra_env: dict[str, str] | None = None
) -> Running:
    """The process of an execution: the one that a worker before this one has started, else a new one.

    Raises:
        StepFailed: it cannot be started; `log_tampered`: what was started before cannot be found again.
    """
    with context.patience.until(control.stop):
        if claimed.adopted:
            attended = open_workspace(context, claimed.workspace_id, attending=True)
            control.disk = DiskCap(attended.directory, attended.container_id, attended.row.limits.disk_bytes)
            if running := take_over(context, claimed, control, attended):
                return running
        _heed_kill(control)
        workspace = open_workspace(context, claimed.workspace_id)
    control.disk = DiskCap(workspace.directory, workspace.container_id, workspace.row.limits.disk_bytes)
    return start(context, claimed, control, workspace, extra_env or {})


def _heed_kill(control: Control) -> None:
    if control.kill.is_set():
        raise StepFailed(Reason.USER, "killed before it started")


def take_over(context: WorkerContext, claimed: Claimed, control: Control, workspace: WorkspaceHandle) -> Running | None:
    """Attach to what a worker that is gone has started; None when it had not, and now never will."""
    noted = claimed.handle.get("run_dir")
    if noted is None:
        return None
    run_dir = RunDir(workspace.directory, str(claimed.execution_id), int(noted.rpartition("/")[2]))
    processes = Processes.of(claimed, workspace.container_id, _uid(claimed, workspace))
    control.processes = processes
    try:
        if run_dir.declare_never_started():
            with suppress(OSError, Tampered):  # else a sweep removes it
                run_dir.remove()
            control.processes = None
            return None
        mask = SecretMask(to_mask(context.secrets, workspace.row))
        turn = _turn(context, claimed, workspace, run_dir, mask)
        capture = _attach(context, claimed, control, (workspace, run_dir, mask, turn))
    except (FileNotFoundError, Tampered) as error:
        raise StepFailed(Reason.LOG_TAMPERED, CAP_MESSAGES[Reason.LOG_TAMPERED]) from error
    capture.heard.wait(ENGINE_NOTICES_SECONDS)  # before clocks are looked at: it may have ended in time
    began = time.monotonic() - claimed.seconds_running
    return Running(workspace, run_dir, capture, claimed.handle.get("exec_id"), mask, processes, turn, began)


def _turn(
    context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle, run_dir: RunDir, mask: SecretMask
) -> Turn | None:
    """Understands what a coding agent prints; None for every other step."""
    if claimed.run_reason is not RunReason.CODING_AGENT:
        return None
    request = turn_request(context, claimed, workspace)
    reader = reader_of(_choice(claimed).name, request)
    raw = RawOutput(partial(run_dir.open_log, Stream.STDOUT))
    turn = Turn(context, claimed, reader, mask, raw, resumed=request.resume_session_id)
    turn.begins_anew = request.begins_anew
    return turn


def _attach(
    context: WorkerContext,
    claimed: Claimed,
    control: Control,
    what: tuple[WorkspaceHandle, RunDir, SecretMask, Turn | None],
) -> Capture:
    workspace, run_dir, mask, turn = what
    capture = context.pump.attach(
        CaptureRequest(
            execution_id=claimed.execution_id,
            fence=claimed.fence,
            run_dir=run_dir,
            secrets=mask.secrets,
            log_bytes=workspace.row.limits.log_bytes,
            wake=control.wake,
            lost=control.lost,
            stored=threading.Event() if turn is None else turn.grown,
            started=run_dir.has_started(),
        )
    )
    if turn is not None and _choice(claimed).kind.conversation:
        turn.start()
    if workspace.row.used_secrets:
        control.secrets = LiveSecrets(claimed.workspace_id, mask, capture.learn)
    return capture


def _note_before(
    context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle, run_dir: RunDir, granted: Grant
) -> None:
    """Where every repo stands, and where the process will be found: whoever adopts it knows that it may have begun.

    And what secrets it gets, for whoever masks them later.
    """
    heads = workspace.by_repo_id(context.git.heads(workspace.directory, workspace.repo_names))
    with context.database.begin() as connection:
        executions.record_before_heads(
            connection,
            claimed.execution_id,
            claimed.fence,
            {repo: head.commit for repo, head in heads.items()},
            handle={"gid": claimed.gid, "run_dir": run_dir.container_path},
        )
        secrets.note_given(connection, workspace.row.id, granted.given)


def start(
    context: WorkerContext,
    claimed: Claimed,
    control: Control,
    workspace: WorkspaceHandle,
    extra_env: dict[str, str],
) -> Running:
    """Start the process behind its supervisor; returns once `started` exists.

    Raises:
        StepFailed: `start_failed` or `engine_error`: the supervisor never started, and now never will;
            `secret_missing`: one that it is to get, or that has to be masked, is not to be had.
    """
    granted = grant(context.secrets, workspace.row, claimed.run_reason)
    mask = SecretMask(to_mask(context.secrets, workspace.row))
    run_dir = RunDir(workspace.directory, str(claimed.execution_id), claimed.fence)
    turn = _turn(context, claimed, workspace, run_dir, mask)
    plan = plan_step(context, claimed, workspace)
    uid = _uid(claimed, workspace)
    check_working_dir(workspace.directory, claimed.action["step"]["cwd"])
    prepare_run_dir(run_dir, Owner(uid, claimed.gid), plan.script, plan.stdin)
    _note_before(context, claimed, workspace, run_dir, granted)
    capture = _attach(context, claimed, control, (workspace, run_dir, mask, turn))
    running = Running(workspace, run_dir, capture, None, mask, Processes.of(claimed, workspace.container_id, uid), turn)
    try:
        env = {
            **plan.env,
            **step_environment(context.settings, workspace.row, claimed.execution_id),
            **granted.env,
            **extra_env,
        }
        step = StepStart(
            run_dir=run_dir.container_path,
            user=f"{uid}:{claimed.gid}",
            cwd=f"/workspace/{claimed.action['step']['cwd']}",
            env=env,
            deadline_seconds=_last_resort(context, claimed, workspace),
        )
        with starting(context, claimed.workspace_id):
            leases.confirm(context, control)
            _heed_kill(control)
            control.processes = running.processes  # from here on it may run
            running.exec_id = _start(context, workspace, step)
            running.began = time.monotonic()
            _await_start(context, claimed, control, running)
        context.metrics.started(claimed.run_reason, control.made_at)
        _store_handle(context, claimed, running)
    except BaseException:
        running.leave(context)
        raise
    return running


def _start(context: WorkerContext, workspace: WorkspaceHandle, step: StepStart) -> str | None:
    """Not to be repeated: an engine that fell silent may have started it, which its run directory tells."""
    try:
        return context.engine.start(workspace.container_id, step)
    except EngineUnavailable as error:
        log.warning("the engine fell silent at a start", error=str(error))
        return None


def _last_resort(context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle) -> float | None:
    """When its supervisor ends it by itself, no worker having done so; a dev server may run for ever."""
    if claimed.run_reason is RunReason.DEV_SERVER:
        return None
    limits = workspace.row.limits
    return limits.timeout_seconds + limits.kill_grace_seconds + context.settings.last_resort_seconds


def _store_handle(context: WorkerContext, claimed: Claimed, running: Running) -> None:
    handle = {"gid": claimed.gid, "exec_id": running.exec_id, "run_dir": running.run_dir.container_path}
    with context.database.begin() as connection:
        executions.update_owned(connection, claimed.execution_id, claimed.fence, handle=handle)


def plan_step(context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle) -> StepPlan:
    """What the process is: the script as it is, or what the agent's executor makes of the prompt."""
    step: Step = claimed.action["step"]
    if claimed.run_reason is not RunReason.CODING_AGENT:
        return StepPlan(script=step["script"].encode(), stdin=b"", env={})
    choice = _choice(claimed)
    try:
        plan = get_executor(choice.name).plan(turn_request(context, claimed, workspace))
    except InvalidInput as error:  # the API has checked the rest
        reason = Reason.CANNOT_RESUME if error.field == "session_id" else Reason.START_FAILED
        raise StepFailed(reason, str(error)) from error
    return replace(plan, env={**plan.env, **choice.env})


def _choice(claimed: Claimed) -> ExecutorChoice:
    try:
        return check_executor(claimed.action["step"]["executor"])
    except InvalidInput as error:  # a session of an older version, which took what is refused now
        raise StepFailed(Reason.START_FAILED, str(error)) from error


def turn_request(context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle) -> TurnRequest:
    """What the agent is asked; a follow-up names the conversation that it goes on with.

    Where no turn of the session has left one (the agent was ended before it spoke), it begins one.
    """
    step: Step = claimed.action["step"]
    resumed = None
    if step.get("follow_up"):
        with context.database.connect() as connection:
            resumed = sessions.agent_session_before(connection, claimed.session_id, claimed.execution_id)
    as_root = _uid(claimed, workspace) == 0
    request = TurnRequest.of(_choice(claimed), step["prompt"], resume_session_id=resumed, as_root=as_root)
    return replace(request, begins_anew=bool(step.get("follow_up")) and resumed is None)


def _uid(claimed: Claimed, workspace: WorkspaceHandle) -> int:
    return 0 if claimed.action["step"].get("as_root") else workspace.uid


def _await_start(context: WorkerContext, claimed: Claimed, control: Control, running: Running) -> None:
    """A detached start answers 200 even when the exec failed, so only the supervisor's own word counts.

    A kill does not wait for it: either the step has started by then, or it never will. A step whose engine fell silent
    at the start (a restart of dockerd) is left to the adoption of this node, which begins it once more: after
    `declare_never_started` a late start of the first one ends at once.
    """
    asked = running.exec_id is not None
    deadline = time.monotonic() + (context.settings.start_timeout_seconds if asked else SILENT_START_SECONDS)
    while not running.capture.started.is_set() and not control.kill.is_set() and time.monotonic() < deadline:
        control.wake.wait(max(0.0, deadline - time.monotonic()))
        control.wake.clear()
    if running.capture.started.is_set():
        return
    if running.run_dir.declare_never_started():
        control.processes = None
        _heed_kill(control)
        if running.exec_id is None:
            if claimed.seconds_running < context.settings.engine_patience_seconds:
                raise LetGo("the engine fell silent at the start, and nothing was started: it is begun anew")
            raise StepFailed(Reason.ENGINE_ERROR, "the container engine did not answer when the step was started")
        state = context.engine.exec_state(running.exec_id)
        code = f" (exec ended with {state.exit_code})" if state is not None and not state.running else ""
        raise StepFailed(
            Reason.START_FAILED,
            f"the step did not start within {context.settings.start_timeout_seconds:g} s{code}; "
            "a script that ran as root may have replaced /bin/sh",
        )


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
        names = tuple(context.engine.left_behind(processes.container_id, processes.gid))
        if names and running.turn is None:
            count, end = (f"{len(names)} processes", "end") if len(names) > 1 else ("1 process", "ends")
            told = f"relay: {count} that this step left running {end} with it: {', '.join(names[:MOST_NAMES])}\n"
            running.run_dir.append(Stream.STDERR, told.encode())
    except (RelayError, OSError) as error:
        log.warning("what a step has left running is not told", error=str(error))
        return ()
    return names


def _read_record(running: Running) -> ExitRecord | Tampered | None:
    try:
        return running.run_dir.read_exit()
    except Tampered as error:
        return error


def _judge(context: WorkerContext, running: Running, record: ExitRecord | Tampered | None) -> End:
    if isinstance(record, Tampered):
        return End(None, Reason.LOG_TAMPERED)
    dead = running.capture.supervisor_dead.wait(ENGINE_NOTICES_SECONDS)
    found = judge_end(record, _engine_exit(context, running), supervisor_alive=not dead and record is not None)
    if found.reason is Reason.SUPERVISOR_LOST and _container_ends(context, running):
        return End(None, Reason.CONTAINER_MISSING)
    return found


def _container_ends(context: WorkerContext, running: Running) -> bool:
    """Whether the supervisor went with its container, which the engine shows as running for a moment yet."""
    deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
    while context.engine.inspect(running.workspace.container_id).running:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _engine_exit(context: WorkerContext, running: Running) -> int | None:
    """The exit code as the engine knows it; it notices a moment after the supervisor is dead, and tells nobody."""
    if running.exec_id is None:
        return None
    deadline = time.monotonic() + ENGINE_NOTICES_SECONDS
    while (state := context.engine.exec_state(running.exec_id)) is not None:
        if not state.running:
            return state.exit_code
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return None


def transition_of(claimed: Claimed, running: Running, ended: Ended) -> Transition:
    """The end state of a script; an agent's verdict is made from its own protocol (`evidence`)."""
    if ended.reason is Reason.USER:
        return machine.killed("killed on request", ended.exit_code)
    if ended.reason in CAP_MESSAGES:
        message = CAP_MESSAGES[ended.reason].format(limits=running.workspace.row.limits)
        return machine.failed(ended.reason, message, ended.exit_code)
    if ended.reason is not None or ended.exit_code != 0:
        name = claimed.run_reason.replace("_", " ")
        hint = CRLF_HINT if "\r\n" in claimed.action["step"].get("script", "") else ""
        message = f"the {name} exited with {ended.exit_code}{hint}"
        return machine.failed(ended.reason or Reason.EXIT_CODE, message, ended.exit_code)
    if claimed.run_reason is RunReason.DEV_SERVER and (ended.left or not running.answered):
        return machine.failed(Reason.NO_PORT, IN_BACKGROUND if ended.left else NEVER_SERVED, ended.exit_code)
    return machine.completed(0)
