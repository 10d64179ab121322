"""Celery's side of a worker: six tasks of one line, and the way from Flower's Terminate to the container's process."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import Celery, Task
from celery.utils.functional import maybe_list
from celery.worker.control import control_command
from celery.worker.control import revoke as builtin_revoke
from celery.worker.request import Request

from relay_core.domain.doorbell import task_name
from relay_core.domain.vocabulary import RunReason


class RunFailed(Exception):  # noqa: N818 - Flower shows the name
    """The run ended as `failed`; shown by Flower without a traceback."""


class RunKilled(Exception):  # noqa: N818
    """The run ended as `killed`; shown by Flower as revoked."""


class RunRequest(Request):
    """Celery's request, with an end that the threads pool can carry out.

    On that pool `terminate_job` is not implemented, and signalling the worker's pid would end all of its runs
    (celery#8147, #10490). So terminating sets the run's kill switch, and the runner does the rest. The methods run in
    the worker's main loop: they must not block.
    """

    kill_task: Callable[[str], bool] = staticmethod(lambda _task_id: False)
    """Set by the bootstrap to the live runs' kill switch."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Flower's Terminate and ``celery control revoke --terminate``."""
        if self.time_start is None:
            super().terminate(pool, signal)
            return
        RunRequest.kill_task(self.id)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002
        """Cold shutdown: the runner detaches by the shutdown signal; the process in the container stays."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002
        """A killed run becomes REVOKED; private API of celery 5.7, guarded by a test of the event sequence."""
        error = exc_info.exception
        if isinstance(getattr(error, "exc", error), RunKilled):
            self._announce_revoked("terminated", True, "SIGTERM", False)  # noqa: FBT003
            return None
        return super().on_failure(exc_info, send_failed_event, return_ok)


class RunTask(Task):
    """Base of all tasks."""

    Request = "relay_workers.tasks:RunRequest"
    throws = (RunFailed, RunKilled)
    max_retries = 0
    ignore_result = True


def register(app: Celery, run: Callable[[UUID, int], None]) -> None:
    """Give the app the six tasks; each calls ``run(execution_id, attempt)``."""
    for reason in RunReason:

        def body(execution_id: str, attempt: int) -> None:
            run(UUID(execution_id), attempt)

        app.task(body, name=task_name(reason), base=RunTask)


@control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **more: Any) -> Any:  # noqa: FBT001, FBT002
    """Celery's own command, which also reaches a run whose task has ended: a dev server that is up."""
    if terminate:
        for one in maybe_list(task_id) or []:
            RunRequest.kill_task(one)
    return builtin_revoke(state, task_id, terminate, signal, **more)
