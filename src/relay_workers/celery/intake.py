"""The queues that a worker consumes: the wanted state is compared with the real one inside the worker's process.

Celery's remote control is not used for that, as it goes through Redis: a command that is sent while Redis is away, or
before the worker has connected, is lost, and a worker that takes it as done would never consume again.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import structlog
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from relay_workers.celery.message import UnreadableMessage, checked_headers
from relay_workers.celery.transport import Transport

log = structlog.get_logger(__name__)
_celery_log = get_logger(__name__)
_TRANSPORT = f"{Transport.__module__}:{Transport.__qualname__}"
"""The transport by its name, as `inspect stats` (Flower and the local stack call it) writes it as JSON."""


REFUSED_SECONDS = 1.0
"""Seconds before a new connection to a Redis that answers and refuses a command."""


class Intake:
    """The wanted state of each queue of a worker, and the switch that follows it.

    Thread-safe: clocks call `want` and `compare`, and the switch itself runs in Celery's main loop.

    Args:
        wanted: whether each queue is to be consumed, by its name.
    """

    def __init__(self, wanted: Mapping[str, bool]) -> None:
        self._wanted = dict(wanted)
        self._consumer: Any = None

    def want(self, queue: str, *, consumed: bool) -> None:
        """Have a queue consumed, or not; returns at once. Celery's main loop switches soon, or when it connects."""
        self._wanted[queue] = consumed
        self.compare()

    def consumes(self, queue: str) -> bool:
        """Whether messages of a queue may come to this worker at present."""
        tasks = None if self._consumer is None else self._consumer.task_consumer
        return tasks is not None and tasks.consuming_from(queue)

    def compare(self) -> None:
        """Have Celery's main loop switch the queues whose state is not the wanted one."""
        if self._consumer is not None and self._consumer.task_consumer is not None and self._differences():
            self._consumer.call_soon(self._switch)

    def connecting(self, consumer: Any) -> None:
        """Give a consumer that is about to connect the wanted queues; called in its main loop."""
        self._consumer = consumer
        queues = consumer.app.amqp.queues
        for name, consumed in self._wanted.items():
            if consumed:
                queues.select_add(queues[name])
            else:
                queues.deselect(name)

    def _differences(self) -> list[str]:
        return [name for name, consumed in self._wanted.items() if self.consumes(name) is not consumed]

    def _switch(self) -> None:
        if self._consumer.task_consumer is None:
            return  # it is connecting, and `connecting` gives it the wanted queues
        for name in self._differences():
            consumed = self._wanted[name]
            log.info("consumes a queue" if consumed else "consumes a queue no more", queue=name)
            switch = self._consumer.add_task_queue if consumed else self._consumer.cancel_task_queue
            switch(name)


class RelayConsumer(Consumer):
    """Celery's consumer, with the queues of the intake; it drops messages that are not Relay's."""

    intake: ClassVar[Intake] = Intake({})
    """Set by the bootstrap."""

    def connect(self) -> Any:
        """Connect to the broker; called for each connection, before it consumes."""
        self.intake.connecting(self)
        return super().connect()

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """The connection from which messages are read, with the transport that survives malformed entries."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = _TRANSPORT
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Connect again; a Redis that answers and refuses is given a second first."""
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, self.channel_errors):
            time.sleep(REFUSED_SECONDS)

    def create_task_handler(self, *words: Any, **options: Any) -> Any:
        """The handler of messages: it checks each one, and gives it to its task's strategy or drops it for good."""
        handle = super().create_task_handler(*words, **options)

        def on_message(message: Any) -> None:
            try:
                message.headers = checked_headers(message.headers, _text(message), self.strategies)
                handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except UnreadableMessage as error:
                log.error("dropped a message that is not of Relay", why=str(error))  # noqa: TRY400 - the message is at fault, no code
                message.reject_log_error(_celery_log, self.connection_errors)
            except Exception as error:  # the next message must be handled in any case
                log.exception("dropped a message that cannot be read", why=str(error))
                message.reject_log_error(_celery_log, self.connection_errors)

        return on_message


def _text(message: Any) -> Any:
    if message.content_type != "application/json":
        raise UnreadableMessage(f"its content type is {message.content_type!r:.80}")
    return message.body
