"""The Celery tasks of a worker, one per kind of execution, and the events about them that Flower receives.

Several workers may receive a copy of an execution's message; one of them claims the execution. Only that worker sends
events. Events of the others would move the task to the wrong worker in Flower, or show it as started while it waits.
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
from relay_workers.celery.reporting import RunFailed, RunKilled, raise_for, result_text, started_at
from relay_workers.celery.revocations import Revocations
from relay_workers.execution.runner import EndReport, ExecutionReporter
from relay_workers.ownership.live_executions import LiveExecutions, OwnershipLost

_celery_log = get_logger(__name__)

ENDS = frozenset(("task-succeeded", "task-failed", "task-revoked"))
"""Celery's events about the end of a task."""

RunExecution = Callable[[UUID, int, ExecutionReporter], Transition | None]
"""A function that carries out one attempt of an execution: `relay_workers.execution.runner.Runner.run`."""


class TaskRequest(Request):
    """Celery's request for one task, changed so that kills work with the threads pool and events are correct.

    Celery's threads pool does not implement `terminate_job`, and a signal to the worker's pid would kill all of its
    executions (celery#8147, #10490). So `terminate` asks Relay to kill the execution. `terminate` and `cancel` run in
    the worker's main loop and must not block. This class uses private API of Celery 5.7; tests of the event sequence
    guard it.
    """

    live: ClassVar[LiveExecutions] = LiveExecutions()
    """The executions that this process owns; the bootstrap sets it."""
    revocations: ClassVar[Revocations | None] = None
    """The writer of revokes; the bootstrap sets it."""

    event_dispatcher: ClassVar[Any] = None
    """Celery's event dispatcher; None before the worker consumes."""
    api_url: ClassVar[str | None] = None
    """URL of the API for the links in results; the bootstrap sets it. None: links are paths."""

    _began: float | None = None
    _result: str | None = None

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._request_dict["reporter"] = self  # the pool hands this dict, not a copy, to the body: `task.request`

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002
        """Kill the execution of this task, whatever the signal."""
        if self.revocations is not None:
            self.revocations.revoke([self.id], terminate=True, event_dispatcher=self._eventer)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002
        """Do nothing at a cold shutdown: the runner gives up the execution, and its process continues."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Report a killed execution as revoked, and a failed one without a traceback.

        The traceback would only show Relay's own code.
        """
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, RunKilled):
            self._announce_revoked("terminated", True, "SIGTERM", False)  # noqa: FBT003
        elif isinstance(error, RunFailed):
            task_ready(self)
            self.send_event("task-failed", exception=saferepr(error), traceback=None)
        else:
            super().on_failure(exc_info, send_failed_event, return_ok)

    def report_started(self, seconds_running: float) -> None:
        """Send the events that this worker received the task and that it started ``seconds_running`` seconds ago."""
        at = started_at(seconds_running)
        self._began = time() - seconds_running
        message = {"name": self.name, "args": self.argsrepr, "kwargs": self.kwargsrepr, "root_id": self.root_id}
        self._send("task-received", **message, retries=0, **at)
        self._send("task-started", **at)

    def report_end(self, report: EndReport) -> None:
        """Keep the result for the event about the end."""
        self._result = result_text(report, self.api_url)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send one of Celery's own events, except "task-started".

        `report_started` sends that one, once this worker has claimed the execution. The event about the end of an
        execution that was claimed here gets its result and its runtime, also if it failed or was killed.
        """
        if type == "task-started":
            return
        if type in ENDS and self._began is not None:
            fields |= {"runtime": time() - self._began, "result": self._result}
        self._send(type, **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._eventer and self._eventer.enabled:
            self._eventer.send(kind, uuid=self.id, **fields)


def strategy(task: Task, app: Celery, consumer: Any) -> Callable[..., Any]:
    """Return Celery's own message handler, wrapped to drop further messages of an execution that runs in this process.

    Celery keeps its reservations by task id, so handling such a copy would remove the reservation of the running
    execution when the copy ends. Messages of all other executions pass, whatever their rows in Postgres contain.
    """
    handle = default(task, app, consumer)
    TaskRequest.event_dispatcher = consumer.event_dispatcher

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if TaskRequest.live.has_task(message.headers["id"]):
            return ack(_celery_log, consumer.connection_errors)
        return handle(message, body, ack, reject, callbacks, **more)

    return on_message


class ExecutionTask(Task):
    """Base class of all tasks. Celery does not retry them or store their results."""

    Request = "relay_workers.celery.tasks:TaskRequest"
    Strategy = "relay_workers.celery.tasks:strategy"
    throws = (RunFailed, RunKilled)
    max_retries = 0
    ignore_result = True
    send_events = False
    """Celery itself sends no events about the tasks, because `TaskRequest` sends them."""


def register(app: Celery, run: RunExecution) -> None:
    """Add one task per kind of execution to the app; each calls ``run(execution_id, attempt, reporter)``."""
    app.conf.worker_consumer = "relay_workers.celery.intake:RelayConsumer"
    for reason in RunReason:

        def body(task: Task, execution_id: str, attempt: int) -> None:
            try:
                end = run(UUID(execution_id), attempt, task.request.reporter)
            except OwnershipLost as error:
                raise Ignore from error
            raise_for(end)

        app.task(body, name=task_name(reason), base=ExecutionTask, shared=False, bind=True)
