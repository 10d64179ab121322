"""Ringing: after commit, bounded in time, and allowed to fail, because a sweep rings again."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain.message import QueueMessage, task_name
from relay_core.queue.celery_app import declare
from relay_core.store.executions import transitions
from relay_core.store.executions.transitions import Undispatched

BROKER_SECONDS = 2.0
"""For a connection to the broker."""

log = structlog.get_logger(__name__)


class Dispatcher(Protocol):
    """Tells workers that there is something to do."""

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send one message for each; never raises for a queue that is away."""

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Send those that seem to be lost; how many."""


def send(app: Celery, message: QueueMessage) -> None:
    """Send one message, by nothing that Redis has to remember.

    By the anonymous exchange, straight into the queue's list. A named exchange is a set of bindings in Redis, which
    Kombu writes once for each connection: where that set was lost, every later message is dropped without a word.
    """
    app.send_task(
        task_name(message.run_reason),
        args=(str(message.execution_id), message.attempt),
        task_id=message.task_id,
        queue=declare(message.queue),
        declare=[],
        ignore_result=True,
    )


def _length(client: Any, queue: str) -> int:
    """Messages in a queue; a key of another kind that lies in the way of it, or of Kombu's books, is removed."""
    looks = {queue: client.llen, "unacked": client.hlen, "unacked_index": lambda key: client.zrange(key, 0, 0)}
    for key, look in looks.items():
        try:
            look(key)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            log.warning("removed a key of Redis that is of the wrong kind", key=key)
            client.delete(key)
    return int(client.llen(queue))


class CeleryDispatcher:
    """Messages through Celery."""

    def __init__(self, app: Celery, database: Engine) -> None:
        self._app = app
        self._database = database

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Ring for rows whose message may be lost, the oldest first: as many as there are messages too few.

        A full queue is no lost message: ringing for all that wait would double it with each sweep. Which of its rows
        has lost its message is not known; the oldest come first, as theirs would have been taken first.
        """
        dispatched = 0
        for queue in undispatched:
            waiting = self._waiting(queue.queue)
            if waiting is not None:
                lost = queue.messages[: max(0, queue.startable - waiting)]
                self.dispatch(lost)
                dispatched += len(lost)
        return dispatched

    def _waiting(self, queue: str) -> int | None:
        """Messages in a queue; None while the broker is away."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
                return _length(connection.default_channel.client, queue)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; a later sweep will ring", error=str(error))
            return None

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send one message for each and note it; a failure is logged, and the sweep repairs it."""
        sent = []
        for message in messages:
            try:
                send(self._app, message)
            except (OperationalError, RedisError, OSError) as error:
                log.warning(
                    "the queue is away; a sweep will ring again", execution_id=message.execution_id, error=str(error)
                )
                break
            sent.append(message.execution_id)
        if sent:
            self._note(sent)

    def _note(self, sent: Sequence[UUID]) -> None:
        try:
            with self._database.begin() as connection:
                transitions.mark_published(connection, sent)
        except SQLAlchemyError as error:
            log.warning("could not note that messages were sent", error=str(error))
