"""Carries out a dev server, which runs while other steps of its workspace run (outside the workspace's lane).

Its Celery task ends when the server answers on its port; its execution ends when the server does.
"""

import threading
import time
from collections.abc import Callable

import structlog

from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.vocabulary import Reason
from relay_core.store import events
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_workers.containers.forwarding import PortForwarder
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.execution.outcome import Outcome
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.step_session import StepParts, StepSession
from relay_workers.execution.watch import Act, Decision
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

log = structlog.get_logger(__name__)

FIRST_PORT = 3000
PROBE_SECONDS = 0.1
"""Seconds between two probes of the port. It has to be polled: no container event reports that a process listens."""


def until_ready(control: ExecutionControl, carry_out: Callable[[], Transition]) -> Transition | None:
    """Run a dev server on a new thread; return once its port answers, or once it has ended before that.

    Args:
        control: the execution's control, through which the thread reports that the port answers.
        carry_out: runs the dev server to its end and returns that end.

    Returns:
        The end of the execution if the server has ended; None if its port answers. In that case the thread goes on
        until the server ends.

    Raises:
        OwnershipLost: the execution was left to another worker before its port answered.
        Exception: every other error of ``carry_out`` before the port answered.
    """
    settled = threading.Event()
    ends: list[Transition | Exception] = []

    def body() -> None:
        try:
            ends.append(carry_out())
        except Exception as error:
            ends.append(error)
            if settled.is_set() and not isinstance(error, OwnershipLost):
                log.exception("a dev server's thread failed after its port had answered")
        finally:
            settled.set()

    control.on_ready = settled.set
    threading.Thread(target=body, name=f"dev-server-{control.execution_id}", daemon=True).start()
    settled.wait()
    end = ends[0] if ends else None
    if isinstance(end, Exception):
        raise end
    return end


class DevServerSession(StepSession):
    """Carries out one dev server.

    Args:
        parts: the worker's parts that carry out steps.
        claimed: the execution.
        control: the execution's control, by which other threads stop it.
        forwarder: forwards a port of this node to the server.
        retry: repeats calls to a container engine that is restarting.
        start_seconds: time within which the server has to answer on its port.
    """

    def __init__(
        self,
        parts: StepParts,
        claimed: Claimed,
        control: ExecutionControl,
        forwarder: PortForwarder,
        retry: RetryWhileSilent,
        start_seconds: float,
    ) -> None:
        super().__init__(parts, claimed, control)
        self._forwarder = forwarder
        self._retry = retry
        self._start_seconds = start_seconds
        self._port = FIRST_PORT + claimed.gid % 1000
        """The port on which the server has to listen in its container (`$PORT`)."""

    def run(self) -> Outcome:
        """Start the server, forward a port of the node to it once it answers, and watch it until it ends."""
        step = self.attach() or self.start({"PORT": str(self._port), "HOST": "0.0.0.0"})  # noqa: S104 - in the container
        step.answered = self.claimed.handle.forward_port is not None
        try:
            decision = self._await_port(step)
            if decision is None:
                step.answered = True
                self._publish(step)
                decision = self.wait(step)
            end = self.finish(step, decision)
            return self.outcome(step, end)
        finally:
            self._forwarder.close(str(self.claimed.execution_id))
            self.detach(step)

    def _await_port(self, step: RunningStep) -> Decision | None:
        """Return None once the port answers.

        Otherwise return the decision to stop the server, or to finish it as it has ended.
        """
        deadline = time.monotonic() + self._start_seconds
        control, capture, container_id = self.control, step.capture, step.place.workspace.container_id
        while time.monotonic() < deadline:
            if control.lost.is_set():
                raise OwnershipLost
            if control.kill.is_set() or capture.exited.is_set() or capture.over.is_set():
                return self.wait(step)
            if self._retry.call(lambda: self._forwarder.probe(container_id, self._port)):
                return None
            control.wake.wait(PROBE_SECONDS)
            control.wake.clear()
        return Decision(Act.STOP, Reason.NO_PORT)

    def _publish(self, step: RunningStep) -> None:
        """Forward a port of the node to the server, store the port, and let the Celery task end.

        A worker that takes the execution over forwards the same port of the node, so the URL stays valid.
        """
        before = self.claimed.handle.forward_port or 0
        container_id = step.place.workspace.container_id
        local = self._forwarder.open(str(self.claimed.execution_id), container_id, self._port, local_port=before)
        payload = {"url": f"http://127.0.0.1:{local}"}
        workspace_id, execution_id = self.claimed.workspace_id, self.claimed.execution_id
        with self.parts.database.begin() as connection:
            handle = ProcessHandle(self.claimed.gid, step.place.files.fence, self._port, local)
            owned.store_handle(connection, execution_id, self.claimed.fence, handle)
            events.append(connection, workspace_id, EventKind.DEV_SERVER_READY, payload, operation_id=execution_id)
        log.info("dev server answers", port=self._port, forward_port=local)
        if self.control.on_ready:
            self.control.on_ready()
