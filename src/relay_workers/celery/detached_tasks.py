"""Takes over executions of dead workers on separate threads, in addition to the slots of Celery's thread pool."""

import threading
from functools import partial
from uuid import UUID

from relay_core.domain.message import task_id
from relay_workers.celery.reporting import DetachedTaskReporter
from relay_workers.celery.tasks import RunExecution, TaskRequest


class DetachedTasks:
    """Starts one thread per execution that this worker takes over.

    Args:
        run: carries out one execution (`Runner.run`).
    """

    def __init__(self, run: RunExecution) -> None:
        self._run = run
        self._adopting: set[UUID] = set()
        """The ids of the executions that have such a thread."""

    def adopt(self, execution_id: UUID, attempt: int) -> None:
        """Take over an execution on a new thread, unless one of these threads already has it; return at once."""
        if execution_id in self._adopting:
            return
        self._adopting.add(execution_id)
        reporter = DetachedTaskReporter(
            task_id(execution_id, attempt), lambda: TaskRequest.event_dispatcher, TaskRequest.api_url
        )

        def body() -> None:
            try:
                reporter.carry_out(partial(self._run, execution_id, attempt))
            finally:
                self._adopting.discard(execution_id)

        threading.Thread(target=body, name=f"adopted-{execution_id}", daemon=True).start()
