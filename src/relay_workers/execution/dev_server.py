"""A dev server: outside the lane, its task ends when its port answers, its row when the server does."""

import threading
import time
from collections.abc import Callable

import structlog
from celery.exceptions import Ignore

from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import Reason, Status
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.executions.lifecycle import Claimed
from relay_workers.celery.reporting import RunFailed, RunKilled
from relay_workers.execution import evidence, process
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.outcome import LetGo, Outcome
from relay_workers.execution.running import Running
from relay_workers.execution.starting import begin
from relay_workers.execution.watch import Act, Decision
from relay_workers.ownership.live_executions import Control

log = structlog.get_logger(__name__)

FIRST_PORT = 3000
PROBE_SECONDS = 0.1
"""A container says nothing when a process of it starts to listen, so it is asked."""

CarryOut = Callable[[Claimed, Control], Transition]


def in_background(claimed: Claimed, carry_out: CarryOut) -> None:
    """Run the dev server in a thread of its own; return when its port answers.

    Raises:
        RunFailed, RunKilled: it ended before that.
        Ignore: it was left to another worker before that.
    """
    control = Control(claimed.execution_id, claimed.fence, claimed.task_id)
    settled = threading.Event()
    ends: list[Transition | None] = []

    def body() -> None:
        try:
            ends.append(carry_out(claimed, control))
        except Ignore:
            ends.append(None)
        finally:
            settled.set()

    control.on_ready = settled.set
    threading.Thread(target=body, name=f"dev-server-{claimed.execution_id}", daemon=True).start()
    settled.wait()
    if not ends:
        return
    transition = ends[0]
    if transition is None:
        raise Ignore
    if transition.target is Status.KILLED:
        raise RunKilled(transition.error_reason)
    if transition.target is Status.FAILED:
        raise RunFailed(f"{transition.reason}: {transition.error_reason}")


def run(context: WorkerContext, claimed: Claimed, control: Control) -> Outcome:
    """Start it, forward a port of the node to it, and watch it until it ends."""
    port = FIRST_PORT + claimed.gid % 1000
    running = begin(context, claimed, control, {"PORT": str(port), "HOST": "0.0.0.0"})  # noqa: S104 - inside the container
    running.answered = "forward_port" in claimed.handle
    try:
        decision = _await_port(context, claimed, control, running, port)
        if decision is None:
            running.answered = True
            _publish(context, claimed, running, port)
            if control.on_ready:
                control.on_ready()
            decision = process.wait(context, claimed, control, running)
        ended = process.end(context, control, running, decision)
        return evidence.outcome(context, claimed, running, ended)
    finally:
        context.forwarder.close(str(claimed.execution_id))
        running.leave(context)


def _await_port(
    context: WorkerContext, claimed: Claimed, control: Control, running: Running, port: int
) -> Decision | None:
    """None once the port answers; else why the server has to end or has ended."""
    deadline = time.monotonic() + context.settings.dev_server_start_seconds
    capture = running.capture
    while time.monotonic() < deadline:
        if control.lost.is_set():
            raise LetGo
        if control.kill.is_set() or capture.exited.is_set() or capture.supervisor_dead.is_set():
            return process.wait(context, claimed, control, running)
        if context.retry_while_silent.call(lambda: context.forwarder.probe(running.workspace.container_id, port)):
            return None
        control.wake.wait(PROBE_SECONDS)
        control.wake.clear()
    return Decision(Act.STOP, Reason.NO_PORT)


def _publish(context: WorkerContext, claimed: Claimed, running: Running, port: int) -> None:
    before = int(claimed.handle.get("forward_port", 0))  # a new worker keeps the URL
    local = context.forwarder.open(str(claimed.execution_id), running.workspace.container_id, port, local_port=before)
    handle = {
        "gid": claimed.gid,
        "exec_id": running.exec_id,
        "run_dir": running.run_dir.container_path,
        "port": port,
        "forward_port": local,
    }
    with context.database.begin() as connection:
        transitions.update_owned(connection, claimed.execution_id, claimed.fence, handle=handle)
        payload = {"url": f"http://127.0.0.1:{local}"}
        events.append(connection, claimed.workspace_id, "dev_server.ready", payload, operation_id=claimed.execution_id)
    log.info("dev server answers", port=port, forward_port=local)
