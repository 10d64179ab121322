"""Reports executions to the listeners of Celery's events, such as Flower and ``celery events``."""

from collections.abc import Callable
from time import time
from typing import Any

from celery.utils.saferepr import saferepr

from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import Status
from relay_workers.execution.runner import EndReport, ExecutionReporter
from relay_workers.ownership.live_executions import OwnershipLost

Execute = Callable[[ExecutionReporter], Transition | None]
"""A function that carries out one execution and returns how it ended; None for a dev server that is ready and goes on.

It raises `OwnershipLost` if this worker has nothing to report.
"""


class RunFailed(Exception):  # noqa: N818 - Flower shows the name
    """The execution ended with the status `failed`. Flower shows the message without a traceback."""


class RunKilled(Exception):  # noqa: N818 - Flower shows the name
    """The execution ended with the status `killed`. Flower shows the task as revoked."""


def raise_for(end: Transition | None) -> None:
    """Raise the exception by which Celery learns that an execution failed or was killed; else return.

    Args:
        end: how the execution ended; None for a dev server that goes on.

    Raises:
        RunKilled: the execution was killed.
        RunFailed: the execution failed; the message begins with the reason.
    """
    if end is not None and end.target is Status.KILLED:
        raise RunKilled(end.error_reason)
    if end is not None and end.target is Status.FAILED:
        raise RunFailed(f"{end.reason}: {end.error_reason}")


def result_text(report: EndReport, api_url: str | None) -> str:
    """Return an end as Flower's field "Result" shows it: status, changes, and the run's address on the page.

    Args:
        report: the end.
        api_url: URL of the API; None: the link is a path without a host.
    """
    parts = [str(report.end.target)]
    if report.changes is not None:
        changes = report.changes
        count = "1 file" if changes.files == 1 else f"{changes.files} files"
        parts.append(f"{count} +{changes.insertions} -{changes.deletions}")
    path = f"/runs/{report.run_id}" if report.run_id else f"/executions/{report.execution_id}"
    parts.append((api_url or "").rstrip("/") + path)
    return ", ".join(parts)


def started_at(seconds_running: float) -> dict[str, float]:
    """Return the timestamp field of an event about a start ``seconds_running`` ago.

    The result is empty for 0, because Celery then adds the current time itself.
    """
    return {"timestamp": time() - seconds_running} if seconds_running else {}


class DetachedTaskReporter:
    """Reports an execution that runs outside Celery's slots, so that listeners see its task continue.

    Args:
        task_id: Celery's id of the task.
        event_dispatcher: returns Celery's event dispatcher; None before the worker consumes.
        api_url: URL of the API for the link in the result; None: the link is a path.
    """

    def __init__(self, task_id: str, event_dispatcher: Callable[[], Any], api_url: str | None = None) -> None:
        self._task_id = task_id
        self._event_dispatcher = event_dispatcher
        self._api_url = api_url
        self._began = time()
        self._result: str | None = None

    def report_started(self, seconds_running: float) -> None:
        """Send the event that the task started ``seconds_running`` seconds ago."""
        self._began = time() - seconds_running
        self._send("task-started", **started_at(seconds_running))

    def report_end(self, report: EndReport) -> None:
        """Keep the result for the event about the end."""
        self._result = result_text(report, self._api_url)

    def carry_out(self, execute: Execute) -> None:
        """Call ``execute`` with this reporter and send how the execution ended; send nothing on `OwnershipLost`."""
        try:
            raise_for(execute(self))
        except OwnershipLost:
            return
        except RunKilled:
            self._send_end("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        except RunFailed as error:
            self._send_end("task-failed", exception=saferepr(error), traceback=None)
        else:
            self._send_end("task-succeeded")

    def _send_end(self, kind: str, **fields: Any) -> None:
        self._send(kind, result=self._result, runtime=time() - self._began, **fields)

    def _send(self, kind: str, **fields: Any) -> None:
        dispatcher = self._event_dispatcher()
        if dispatcher and dispatcher.enabled:
            dispatcher.send(kind, uuid=self._task_id, **fields)
