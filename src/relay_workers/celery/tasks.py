"""Celery's side of a worker: six tasks of one line, and what Flower is told of them.

Only the one who has won the claim says anything: events of a copy that lost would move the run to another worker in
Flower, or show it as started while it waits.
"""

from collections.abc import Callable
from time import time
from typing import Any, ClassVar
from uuid import UUID

from celery import Celery, Task
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from celery.worker.state import task_ready
from celery.worker.strategy import default

from relay_core.domain.message import task_name
from relay_core.domain.vocabulary import RunReason
from relay_workers.celery.reporting import RunFailed, RunKilled, started_at, tells_for_this_thread
from relay_workers.celery.revocations import Revocations
from relay_workers.ownership.live_executions import LiveRuns

_celery_log = get_logger(__name__)


class RunRequest(Request):
    """Celery's request, with ends that the threads pool can carry out and events that are true.

    On that pool `terminate_job` is not implemented, and signalling the worker's pid would end all of its runs
    (celery#8147, #10490). So terminating sets the run's kill switch, and the runner does the rest. `terminate` and
    `cancel` run in the worker's main loop: they must not block. Private API of celery 5.7, guarded by tests of the
    event sequence.
    """

    live: ClassVar[LiveRuns] = LiveRuns()
    """What this process runs; set by the bootstrap."""
    revocations: ClassVar[Revocations | None] = None
    """Set by the bootstrap."""

    dispatcher: ClassVar[Any] = None
    """Of Celery's events; known once the worker consumes."""

    _began: float | None = None

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002
        """As a revoke of this task."""
        if self.revocations is not None:
            self.revocations.revoke([self.id], terminate=True, dispatcher=self._eventer)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002
        """Cold shutdown: the runner detaches by the shutdown signal; the process in the container stays."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Called by the pool's thread right before the task's body, which finds its request this way."""
        tells_for_this_thread(self)
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002
        """A killed run becomes REVOKED, a failed one FAILURE without a traceback: the frames would be Relay's own."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, RunKilled):
            self._announce_revoked("terminated", True, "SIGTERM", False)  # noqa: FBT003
        elif isinstance(error, RunFailed):
            task_ready(self)
            self.send_event("task-failed", exception=saferepr(error), traceback=None)
        else:
            super().on_failure(exc_info, send_failed_event, return_ok)

    def announce_started(self, ran_seconds: float) -> None:
        """Tell Flower that the run is here: it was received and has started, so many seconds ago."""
        at = started_at(ran_seconds)
        self._began = at.get("timestamp")
        message = {"name": self.name, "args": self.argsrepr, "kwargs": self.kwargsrepr, "root_id": self.root_id}
        self._send("task-received", **message, retries=0, **at)
        self._send("task-started", **at)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Celery's events but for the start, which is announced when the claim is won."""
        if type == "task-started":
            return
        if type == "task-succeeded" and self._began is not None:
            fields["runtime"] = time() - self._began
        self._send(type, **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._eventer and self._eventer.enabled:
            self._eventer.send(kind, uuid=self.id, **fields)


def strategy(task: Task, app: Celery, consumer: Any) -> Callable[..., Any]:
    """Celery's own, but a copy of what runs in this process is dropped before it is reserved.

    Celery keeps reservations by task id: the end of the copy would take the run itself from its books. A message of a
    run that is not live here passes, whatever its row says.
    """
    handle = default(task, app, consumer)
    RunRequest.dispatcher = consumer.event_dispatcher

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if RunRequest.live.has_task(message.headers["id"]):
            return ack(_celery_log, consumer.connection_errors)
        return handle(message, body, ack, reject, callbacks, **more)

    return on_message


class RunTask(Task):
    """Base of all tasks."""

    Request = "relay_workers.celery.tasks:RunRequest"
    Strategy = "relay_workers.celery.tasks:strategy"
    throws = (RunFailed, RunKilled)
    max_retries = 0
    ignore_result = True
    send_events = False
    """RunRequest sends them."""


def register(app: Celery, run: Callable[[UUID, int], None]) -> None:
    """Give the app the six tasks; each calls ``run(execution_id, attempt)``."""
    app.conf.worker_consumer = "relay_workers.celery.intake:RelayConsumer"
    for reason in RunReason:

        def body(execution_id: str, attempt: int) -> None:
            run(UUID(execution_id), attempt)

        app.task(body, name=task_name(reason), base=RunTask, shared=False)
