"""Celery's side of a worker: one task per kind of execution, and the events that Flower receives about it.

Only the worker that won the claim sends events. Events of a copy that lost would move the task to another worker in
Flower, or show it as started while it waits.
"""

from collections.abc import Callable
from time import time
from typing import Any, ClassVar
from uuid import UUID

from celery import Celery, Task
from celery.exceptions import Ignore
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from celery.worker.state import task_ready
from celery.worker.strategy import default

from relay_core.domain.execution import Transition
from relay_core.domain.message import task_name
from relay_core.domain.vocabulary import RunReason
from relay_workers.celery.reporting import RunFailed, RunKilled, raise_for, started_at
from relay_workers.celery.revocations import Revocations
from relay_workers.execution.runner import StartReporter
from relay_workers.ownership.live_executions import LiveExecutions, OwnershipLost

_celery_log = get_logger(__name__)

RunExecution = Callable[[UUID, int, StartReporter], Transition | None]
"""`relay_workers.execution.runner.Runner.run`."""


class TaskRequest(Request):
    """Celery's request for one task, with ends that the threads pool can carry out, and with true events.

    The threads pool does not implement `terminate_job`, and a signal to the worker's pid would end all of its
    executions (celery#8147, #10490). So `terminate` asks Relay to kill the execution. `terminate` and `cancel` run in
    the worker's main loop and must not block. This uses private API of celery 5.7; tests of the event sequence guard
    it.
    """

    live: ClassVar[LiveExecutions] = LiveExecutions()
    """Executions that this process owns; set by the bootstrap."""
    revocations: ClassVar[Revocations | None] = None
    """Set by the bootstrap."""

    event_dispatcher: ClassVar[Any] = None
    """Celery's event dispatcher; None before the worker consumes."""

    _began: float | None = None

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._request_dict["reporter"] = self  # the threads pool gives it, not a copy, to the body: `task.request`

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002
        """Revoke this task with ``terminate``: the execution is killed, whatever the signal."""
        if self.revocations is not None:
            self.revocations.revoke([self.id], terminate=True, event_dispatcher=self._eventer)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002
        """Do nothing at a cold shutdown: the runner lets go of the execution, whose process goes on."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Make a killed execution REVOKED, and a failed one FAILURE without a traceback, whose frames are Relay's."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, RunKilled):
            self._announce_revoked("terminated", True, "SIGTERM", False)  # noqa: FBT003
        elif isinstance(error, RunFailed):
            task_ready(self)
            self.send_event("task-failed", exception=saferepr(error), traceback=None)
        else:
            super().on_failure(exc_info, send_failed_event, return_ok)

    def report_started(self, seconds_running: float) -> None:
        """Send that this worker received the task and that it started, ``seconds_running`` ago."""
        at = started_at(seconds_running)
        self._began = at.get("timestamp")
        message = {"name": self.name, "args": self.argsrepr, "kwargs": self.kwargsrepr, "root_id": self.root_id}
        self._send("task-received", **message, retries=0, **at)
        self._send("task-started", **at)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send one of Celery's own events, except the start: `report_started` sends that once the claim is won."""
        if type == "task-started":
            return
        if type == "task-succeeded" and self._began is not None:
            fields["runtime"] = time() - self._began
        self._send(type, **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._eventer and self._eventer.enabled:
            self._eventer.send(kind, uuid=self.id, **fields)


def strategy(task: Task, app: Celery, consumer: Any) -> Callable[..., Any]:
    """Celery's own strategy, except that it drops a copy of the message of an execution that is live here.

    Celery keeps reservations by task id, so the end of the copy would remove the reservation of the execution itself.
    The message of an execution that is not live here passes, whatever its row says.
    """
    handle = default(task, app, consumer)
    TaskRequest.event_dispatcher = consumer.event_dispatcher

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if TaskRequest.live.has_task(message.headers["id"]):
            return ack(_celery_log, consumer.connection_errors)
        return handle(message, body, ack, reject, callbacks, **more)

    return on_message


class ExecutionTask(Task):
    """Base of all tasks."""

    Request = "relay_workers.celery.tasks:TaskRequest"
    Strategy = "relay_workers.celery.tasks:strategy"
    throws = (RunFailed, RunKilled)
    max_retries = 0
    ignore_result = True
    send_events = False
    """`TaskRequest` sends them."""


def register(app: Celery, run: RunExecution) -> None:
    """Give the app one task for each kind of execution; each calls ``run(execution_id, attempt, reporter)``."""
    app.conf.worker_consumer = "relay_workers.celery.intake:RelayConsumer"
    for reason in RunReason:

        def body(task: Task, execution_id: str, attempt: int) -> None:
            try:
                end = run(UUID(execution_id), attempt, task.request.reporter)
            except OwnershipLost as error:
                raise Ignore from error
            raise_for(end)

        app.task(body, name=task_name(reason), base=ExecutionTask, shared=False, bind=True)
