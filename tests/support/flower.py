"""Flower as the local stack runs it, beside the session's Relay; and every event that Celery sends."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx

from relay_core.domain.message import task_id
from relay_stack.services.programs import flower_command
from tests.support.machine import free_port
from tests.support.relay import Relay

USER, PASSWORD = "someone", "flowers-own-password"


class Flower:
    """A running Flower and a client of its API."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, auth=(USER, PASSWORD), timeout=10)
        self.start()

    def start(self) -> None:
        environment = {**self.relay.environment, "RELAY_API_PUBLIC_URL": self.relay.api_url}
        environment |= {"FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}"}
        words = flower_command(self.port, self.relay.root / "flower")
        with (self.relay.root / "flower.log").open("ab") as log:
            self.process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        self.relay.until(self._knows_the_worker, 60, "Flower knows the worker")

    def _knows_the_worker(self) -> bool:
        try:
            return any(self.client.get("/api/workers", params={"refresh": "true"}).json())
        except (httpx.TransportError, ValueError):
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def task(self, execution_id: str) -> dict[str, Any] | None:
        answer = self.client.get(f"/api/task/info/{celery_id(execution_id)}")
        return answer.json() if answer.status_code == 200 else None

    def shown(self, execution_id: str, *states: str) -> dict[str, Any]:
        """The task once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            task = self.task(execution_id)
            return task if task is not None and task["state"] in states else None

        return self.relay.until(look, 30, f"Flower shows {states}")

    def revoke(self, execution_id: str, **query: str) -> None:
        answer = self.client.post(f"/api/task/revoke/{celery_id(execution_id)}", params=query)
        assert answer.status_code == 200, answer.text


def celery_id(execution_id: str) -> str:
    return task_id(UUID(execution_id), 1)


@contextmanager
def closed(app: Any, queue: str) -> Iterator[None]:
    """The worker does not listen to a queue within the block; its messages wait.

    It opens the queue again at its next tick, so it is closed again and again.
    """
    quick = {"reply": True, "timeout": 10, "limit": 1}
    over = threading.Event()

    def close() -> None:
        while not over.wait(0.1):
            app.control.cancel_consumer(queue, **quick)

    app.control.cancel_consumer(queue, **quick)
    closing = threading.Thread(target=close)
    closing.start()
    try:
        yield
    finally:
        over.set()
        closing.join()
        app.control.add_consumer(queue, exchange=queue, exchange_type="direct", routing_key=queue, **quick)


class Events:
    """All task events since the recorder began to listen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[dict[str, Any]] = []

    def add(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._all.append(event)

    def of(self, execution_id: str, *, host: str | None = None) -> list[str]:
        """Kinds of a run's events as they came, without those of the senders of messages."""
        uuid = celery_id(execution_id)
        with self._lock:
            mine = [event for event in self._all if event.get("uuid") == uuid and event["type"] != "task-sent"]
        return [event["type"] for event in mine if host in {None, event["hostname"]}]

    def seen(self, kind: str) -> bool:
        with self._lock:
            return any(event["type"] == kind for event in self._all)

    def text(self) -> str:
        with self._lock:
            return repr(self._all)


@contextmanager
def recording(app: Any, relay: Relay) -> Iterator[Events]:
    """A real receiver of Celery's events, listening when the block begins."""
    events = Events()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": events.add})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None}, daemon=True)
        thread.start()
        relay.until(lambda: events.seen("worker-heartbeat"), 30, "the recorder hears a worker")
        yield events
        receiver.should_stop = True  # seen within a second
        thread.join(10)
