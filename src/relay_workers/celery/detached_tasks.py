"""Executions that are adopted on threads of their own, beside Celery's slots."""

import threading
from functools import partial
from uuid import UUID

from relay_core.domain.message import task_id
from relay_workers.celery.reporting import DetachedTaskReporter
from relay_workers.celery.tasks import RunExecution, TaskRequest


class DetachedTasks:
    """Starts one thread per adopted execution.

    Args:
        run: `Runner.run`.
    """

    def __init__(self, run: RunExecution) -> None:
        self._run = run
        self._adopting: set[UUID] = set()
        """Executions that such a thread works at."""

    def adopt(self, execution_id: UUID, attempt: int) -> None:
        """Adopt an execution without a slot, if no such thread works at it already; returns at once."""
        if execution_id in self._adopting:
            return
        self._adopting.add(execution_id)
        reporter = DetachedTaskReporter(task_id(execution_id, attempt), lambda: TaskRequest.event_dispatcher)

        def body() -> None:
            try:
                reporter.carry_out(partial(self._run, execution_id, attempt))
            finally:
                self._adopting.discard(execution_id)

        threading.Thread(target=body, name=f"adopted-{execution_id}", daemon=True).start()
