"""Telling workers, after commit and beside the request: an answer never waits for the queue."""

from collections.abc import Sequence

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine

from relay_core.domain.message import QueueMessage
from relay_core.queue.background import BackgroundSender
from relay_core.queue.dispatcher import CeleryDispatcher

log = structlog.get_logger(__name__)

THREADS = 2


class ApiDispatcher:
    """Rings and revokes in the background, bounded; a failure is logged and repaired by a worker's sweep."""

    def __init__(self, app: Celery, database: Engine) -> None:
        self._app = app
        self._dispatcher = CeleryDispatcher(app, database)
        self._background = BackgroundSender("dispatch", THREADS)

    def dispatch(self, messages: Sequence[QueueMessage]) -> None:
        """Send messages for executions that may start."""
        if messages:
            self._background.submit(lambda: self._dispatcher.dispatch(messages))

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Tell workers at once that runs were asked to end; the request itself is in Postgres."""
        if task_ids:
            self._background.submit(lambda: self._revoke(list(task_ids)))

    def close(self) -> None:
        """Finish what is waiting, within a bounded time."""
        self._background.close()

    def _revoke(self, task_ids: list[str]) -> None:
        try:
            self._app.control.revoke(task_ids, terminate=True, signal="SIGTERM")
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; workers will see the kill at their next tick", error=str(error))
