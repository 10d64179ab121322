"""One Celery worker in this process whose tasks do what a test says, and the events that it sends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from celery.contrib.testing.worker import start_worker

from relay_core.domain.execution import Transition
from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.dispatcher import send
from relay_workers.execution.runner import ExecutionReporter

Behaviour = Callable[[ExecutionReporter], Transition | None]


class Bench:
    """What a worker does and tells."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.events: list[dict[str, Any]] = []
        self._behaviour: dict[UUID, Behaviour] = {}
        self._more = threading.Condition()

    def run(self, execution_id: UUID, attempt: int, reporter: ExecutionReporter) -> Transition | None:
        return self._behaviour[execution_id](reporter)

    def add(self, event: dict[str, Any]) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    def wait(self, kind: str, uuid: str | None) -> dict[str, Any]:
        with self._more:
            assert self._more.wait_for(lambda: any(self._is(event, kind, uuid) for event in self.events), 15), kind
            return next(event for event in self.events if self._is(event, kind, uuid))

    def _is(self, event: dict[str, Any], kind: str, uuid: str | None) -> bool:
        return event["type"] == kind and (uuid is None or event["uuid"] == uuid)

    def kinds(self, uuid: str) -> list[str]:
        mine = [event for event in list(self.events) if event.get("uuid") == uuid]
        return [event["type"] for event in mine if event["type"] != "task-sent"]

    def send(self, behave: Behaviour, execution_id: UUID | None = None, node: str | None = None) -> str:
        """Queue a task that does this; returns its id."""
        execution_id = execution_id or uuid4()
        self._behaviour[execution_id] = behave
        send(self.app, QueueMessage(execution_id, 1, RunReason.SETUP_SCRIPT, "default", node))
        return task_id(execution_id, 1)

    def runs(self, node: str | None = None, seconds: float = 15) -> bool:
        """Whether a message that is sent now is carried out in time."""
        ran = threading.Event()
        self.send(lambda _: ran.set(), node=node)
        return ran.wait(seconds)


@contextmanager
def working(bench: Bench) -> Iterator[Bench]:
    """With a worker, from its first heartbeat on where its events are listened to."""
    with start_worker(
        bench.app,
        pool="threads",
        concurrency=1,
        perform_ping_check=False,
        shutdown_timeout=30,  # three times Celery's, as the tests' limits of time: the processes share the processors
        task_events=True,
        without_heartbeat=False,
    ):
        yield bench
