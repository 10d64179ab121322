"""Telling workers, after commit and beside the request: an answer never waits for the queue."""

from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Thread

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine

from relay_core.domain.doorbell import Ring
from relay_core.doorbell import CeleryDoorbell

log = structlog.get_logger(__name__)

THREADS = 2
MAX_WAITING = 200
"""Messages that may wait for a slow queue; further ones are left to the workers' sweep."""
CLOSE_SECONDS = 2.0
"""How long a stop waits for what is being sent."""

Send = Callable[[], None]


class Bell:
    """Rings and revokes in the background, bounded; a failure is logged and repaired by a worker's sweep."""

    def __init__(self, app: Celery, engine: Engine) -> None:
        self._app = app
        self._doorbell = CeleryDoorbell(app, engine)
        self._waiting: Queue[Send | None] = Queue(MAX_WAITING)
        # Daemons: a queue that never answers keeps no process from ending.
        self._threads = [Thread(target=self._work, name=f"bell-{n}", daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def ring(self, rings: Sequence[Ring]) -> None:
        """Send messages for executions that may start."""
        if rings:
            self._later(lambda: self._doorbell.ring(rings))

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Tell workers at once that runs were asked to end; the request itself is in Postgres."""
        if task_ids:
            self._later(lambda: self._revoke(list(task_ids)))

    def close(self) -> None:
        """Finish what is waiting, within a bounded time."""
        for _ in self._threads:
            try:
                self._waiting.put_nowait(None)
            except Full:
                return
        for thread in self._threads:
            thread.join(CLOSE_SECONDS / THREADS)

    def _revoke(self, task_ids: list[str]) -> None:
        try:
            self._app.control.revoke(task_ids, terminate=True, signal="SIGTERM")
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; workers will see the kill at their next tick", error=str(error))

    def _later(self, send: Send) -> None:
        try:
            self._waiting.put_nowait(send)
        except Full:
            log.warning("too many messages wait for the queue; a sweep will ring")

    def _work(self) -> None:
        while (send := self._waiting.get()) is not None:
            try:
                send()
            except Exception:
                log.exception("could not tell workers; a sweep will")
