"""Send the queue messages of executions after a commit, in bounded time.

Sending may fail: the workers regularly look for queued executions without a message and send the messages again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError, ResponseError

from relay_core.domain.message import QueueMessage, task_name
from relay_core.queue.celery_app import declare
from relay_core.store.database import Engine
from relay_core.store.executions.messages import Undispatched, mark_published
from relay_core.store.outage import SQLAlchemyError
from relay_core.store.transaction import Publisher

BROKER_SECONDS = 2.0
"""Time-out for connecting to the broker (Redis)."""

log = structlog.get_logger(__name__)


class Dispatcher(Publisher, Protocol):
    """Interface for informing workers which executions may start and which must be killed."""

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Send again the messages that seem to be lost, and return their number."""


def send(app: Celery, message: QueueMessage) -> None:
    """Send one message through the anonymous exchange, which appends it directly to the Redis list of its queue.

    A named exchange would need bindings: a set in Redis that Kombu writes once for each connection. If Redis lost that
    set, Kombu would drop every later message without an error. The message's description travels in a header that
    Celery copies into its events and that no worker reads.

    Raises:
        kombu.exceptions.OperationalError, redis.exceptions.RedisError, OSError: the broker is away or refuses writes.
    """
    app.send_task(
        task_name(message.run_reason),
        args=(str(message.execution_id), message.attempt),
        kwargsrepr=repr(message.description.shown() if message.description else {}),
        task_id=message.task_id,
        queue=declare(message.queue),
        declare=[],
        ignore_result=True,
    )


def _length(client: Any, queue: str) -> int:
    """Return the number of messages in a queue.

    Remove a Redis key of the wrong type that has the name of the queue's list or of Kombu's records of reserved
    messages.
    """
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
    """Sends messages through Celery, and records in Postgres which of them it has sent again."""

    def __init__(self, app: Celery, database: Engine) -> None:
        self._app = app
        self._database = database

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Send again the messages of queued executions that seem to be lost, and return their number.

        For each queue, send as many messages as are missing: startable executions minus messages in the queue. If
        none is missing, none was lost; sending for all executions would double the queue with each call. It is unknown
        which executions lost their message, so the oldest are chosen, whose messages workers would have taken first.
        """
        dispatched = 0
        for queue in undispatched:
            waiting = self._waiting(queue.queue)
            if waiting is not None:
                lost = queue.messages[: max(0, queue.startable - waiting)]
                self._note(self._send(lost))
                dispatched += len(lost)
        return dispatched

    def _waiting(self, queue: str) -> int | None:
        """Return the number of messages in a queue. None while the broker is away."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
                return _length(connection.default_channel.client, queue)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; a later sweep will send messages again", error=str(error))
            return None

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send messages that the transaction of their executions noted as sent.

        The first failure is logged and ends the sending; a worker sends the remaining messages later.
        """
        self._send(messages)

    def _send(self, messages: Iterable[QueueMessage]) -> list[UUID]:
        sent = []
        for message in messages:
            try:
                send(self._app, message)
            except (OperationalError, RedisError, OSError) as error:
                log.warning(
                    "the queue is away; a sweep will send the message again",
                    execution_id=message.execution_id,
                    error=str(error),
                )
                break
            sent.append(message.execution_id)
        return sent

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Ask all workers to kill these Celery tasks.

        A failure is only logged: the kill request is in Postgres, where workers find it when they renew their leases.
        """
        try:
            self._app.control.revoke(list(task_ids), terminate=True, signal="SIGTERM")
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; workers see the kill when they renew their leases", error=str(error))

    def _note(self, sent: Sequence[UUID]) -> None:
        if not sent:
            return
        try:
            with self._database.begin() as connection:
                mark_published(connection, sent)
        except SQLAlchemyError as error:
            log.warning("could not note that messages were sent", error=str(error))
