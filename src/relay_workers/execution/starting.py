"""How a step comes to its process: a new one is started, or that of a worker which is gone is taken over."""

import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from relay_core.domain.agents.executors import ExecutorChoice, check_executor
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.step import AgentStep, CloneStep
from relay_core.domain.vocabulary import Reason, RunReason, Stream
from relay_core.store.executions import transitions
from relay_core.store.executions.lifecycle import Claimed
from relay_core.store.projects import secrets
from relay_core.store.workspaces import sessions
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.registry import get_executor, reader_of
from relay_workers.capture.pump import Capture, CaptureRequest
from relay_workers.containers.port import EngineUnavailable, StepStart
from relay_workers.execution.agent_turn import Turn
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import Processes, starting
from relay_workers.execution.environment import step_environment
from relay_workers.execution.live_secrets import LiveSecrets
from relay_workers.execution.outcome import CAP_MESSAGES, LetGo
from relay_workers.execution.raw_output import RawOutput
from relay_workers.execution.running import Running
from relay_workers.execution.secret_values import Grant, grant, to_mask
from relay_workers.execution.working_dir import check_working_dir
from relay_workers.execution.workspace import WorkspaceHandle, open_workspace
from relay_workers.host_files.run_dir import Owner, RunDir, prepare_run_dir
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership import leases
from relay_workers.ownership.disk_cap import DiskCap
from relay_workers.ownership.live_executions import Control

log = structlog.get_logger(__name__)

SUPERVISOR_SPEAKS_SECONDS = 1.0
"""For a supervisor that may have ended already to be listened to."""
SILENT_START_SECONDS = 2.0
"""For a step to begin whose start the engine did not confirm, before it is ruled out and begun anew."""


def begin(
    context: WorkerContext, claimed: Claimed, control: Control, extra_env: dict[str, str] | None = None
) -> Running:
    """The process of an execution: the one that a worker before this one has started, else a new one.

    Raises:
        StepFailed: it cannot be started; `log_tampered`: what was started before cannot be found again.
    """
    with context.retry_while_silent.until(control.stop):
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
            with suppress(OSError, TamperedFile):  # else a sweep removes it
                run_dir.remove()
            control.processes = None
            return None
        mask = SecretMask(to_mask(context.secrets, workspace.row))
        turn = _turn(context, claimed, workspace, run_dir, mask)
        capture = _attach(context, claimed, control, (workspace, run_dir, mask, turn))
    except (FileNotFoundError, TamperedFile) as error:
        raise StepFailed(Reason.LOG_TAMPERED, CAP_MESSAGES[Reason.LOG_TAMPERED]) from error
    capture.heard.wait(SUPERVISOR_SPEAKS_SECONDS)  # before clocks are looked at: it may have ended in time
    began = time.monotonic() - claimed.seconds_running
    return Running(workspace, run_dir, capture, claimed.handle.get("exec_id"), mask, processes, turn, began)


def _turn(
    context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle, run_dir: RunDir, mask: SecretMask
) -> Turn | None:
    """Understands what a coding agent prints; None for every other step."""
    if not isinstance(claimed.step, AgentStep):
        return None
    request = turn_request(context, claimed, claimed.step, workspace)
    reader = reader_of(_choice(claimed.step).name, request)
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
    if turn is not None and isinstance(claimed.step, AgentStep) and _choice(claimed.step).kind.conversation:
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
        transitions.record_before_heads(
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
    check_working_dir(workspace.directory, claimed.step.cwd)
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
            cwd=f"/workspace/{claimed.step.cwd}",
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
        return context.containers.start(workspace.container_id, step)
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
        transitions.update_owned(connection, claimed.execution_id, claimed.fence, handle=handle)


def plan_step(context: WorkerContext, claimed: Claimed, workspace: WorkspaceHandle) -> StepPlan:
    """What the process is: the script as it is, or what the agent's executor makes of the prompt."""
    step = claimed.step
    if isinstance(step, CloneStep):
        raise TypeError("a clone has no process in a container")
    if not isinstance(step, AgentStep):
        return StepPlan(script=step.script.encode(), stdin=b"", env={})
    choice = _choice(step)
    try:
        plan = get_executor(choice.name).plan(turn_request(context, claimed, step, workspace))
    except InvalidInput as error:  # the API has checked the rest
        reason = Reason.CANNOT_RESUME if error.field == "session_id" else Reason.START_FAILED
        raise StepFailed(reason, str(error)) from error
    return replace(plan, env={**plan.env, **choice.env})


def _choice(step: AgentStep) -> ExecutorChoice:
    try:
        return check_executor(step.executor.as_json())
    except InvalidInput as error:  # a session of an older version, which took what is refused now
        raise StepFailed(Reason.START_FAILED, str(error)) from error


def turn_request(context: WorkerContext, claimed: Claimed, step: AgentStep, workspace: WorkspaceHandle) -> TurnRequest:
    """What the agent is asked; a follow-up names the conversation that it goes on with.

    Where no turn of the session has left one (the agent was ended before it spoke), it begins one.
    """
    resumed = None
    if step.follow_up:
        with context.database.connect() as connection:
            resumed = sessions.agent_session_before(connection, claimed.session_id, claimed.execution_id)
    as_root = _uid(claimed, workspace) == 0
    request = TurnRequest.of(_choice(step), step.prompt, resume_session_id=resumed, as_root=as_root)
    return replace(request, begins_anew=step.follow_up and resumed is None)


def _uid(claimed: Claimed, workspace: WorkspaceHandle) -> int:
    return 0 if claimed.step.as_root else workspace.uid


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
        state = context.containers.exec_state(running.exec_id)
        code = f" (exec ended with {state.exit_code})" if state is not None and not state.running else ""
        raise StepFailed(
            Reason.START_FAILED,
            f"the step did not start within {context.settings.start_timeout_seconds:g} s{code}; "
            "a script that ran as root may have replaced /bin/sh",
        )
