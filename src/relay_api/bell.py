"""Telling workers, after commit and beside the request: an answer never waits for the queue."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

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


class Bell:
    """Rings and revokes in the background, bounded; a failure is logged and repaired by a worker's sweep."""

    def __init__(self, app: Celery, engine: Engine) -> None:
        self._app = app
        self._doorbell = CeleryDoorbell(app, engine)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bell")
        self._room = BoundedSemaphore(MAX_WAITING)

    def ring(self, rings: Sequence[Ring]) -> None:
        """Send messages for executions that may start."""
        if rings:
            self._later(self._doorbell.ring, rings)

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Tell workers at once that runs were asked to end; the request itself is in Postgres."""
        if task_ids:
            self._later(self._revoke, list(task_ids))

    def close(self) -> None:
        """Finish what is being sent and drop the rest."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _revoke(self, task_ids: list[str]) -> None:
        try:
            self._app.control.revoke(task_ids, terminate=True, signal="SIGTERM")
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; workers will see the kill at their next tick", error=str(error))

    def _later(self, send: Callable[[Any], None], what: Any) -> None:
        if not self._room.acquire(blocking=False):
            log.warning("too many messages wait for the queue; a sweep will ring")
            return

        def sent() -> None:
            try:
                send(what)
            except Exception:
                log.exception("could not ring; a sweep will")
            finally:
                self._room.release()

        self._threads.submit(sent).add_done_callback(lambda done: self._room.release() if done.cancelled() else None)
