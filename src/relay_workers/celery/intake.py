"""Which queues a worker consumes: what is wanted is compared with what is, again and again, inside its process.

Not by Celery's remote control, which goes through Redis: a command that is sent while Redis is away, or before the
worker has connected, is lost, and a worker that remembers it as done takes no work for ever.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import structlog
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from relay_workers.celery.message import Unreadable, checked_headers
from relay_workers.celery.transport import Transport

log = structlog.get_logger(__name__)
_celery_log = get_logger(__name__)
_TRANSPORT = f"{Transport.__module__}:{Transport.__qualname__}"
"""By name: `inspect stats`, which Flower and the local stack ask for, has to write it as JSON."""


REFUSED_SECONDS = 1.0
"""Before a new connection to a Redis that answers, and refuses to do what it is asked for."""


class Intake:
    """The wanted state of each of a worker's queues, and the switch that follows it.

    Thread-safe: `want` and `compare` are called from a clock, the switch itself runs in Celery's main loop.
    """

    def __init__(self, wanted: Mapping[str, bool]) -> None:
        self._wanted = dict(wanted)
        self._consumer: Any = None

    def want(self, queue: str, *, consumed: bool) -> None:
        """Say whether a queue is to be consumed; done as soon as Celery's main loop turns, or once it connects."""
        self._wanted[queue] = consumed
        self.compare()

    def consumes(self, queue: str) -> bool:
        """Whether messages of a queue may come here at present."""
        tasks = None if self._consumer is None else self._consumer.task_consumer
        return tasks is not None and tasks.consuming_from(queue)

    def compare(self) -> None:
        """Have the main loop switch what is not as it is wanted."""
        if self._consumer is not None and self._consumer.task_consumer is not None and self._differences():
            self._consumer.call_soon(self._switch)

    def connecting(self, consumer: Any) -> None:
        """A consumer is about to connect: it begins with what is wanted now. Called in its main loop."""
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
            return  # it is connecting, and begins with what is wanted
        for name in self._differences():
            consumed = self._wanted[name]
            log.info("consumes a queue" if consumed else "consumes a queue no more", queue=name)
            switch = self._consumer.add_task_queue if consumed else self._consumer.cancel_task_queue
            switch(name)


class RelayConsumer(Consumer):
    """Celery's consumer, with the intake's queues and deaf to what is no message of ours."""

    intake: ClassVar[Intake] = Intake({})
    """Set by the bootstrap."""

    def connect(self) -> Any:
        """Called for each connection, before anything is consumed by it."""
        self.intake.connecting(self)
        return super().connect()

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """The connection whose messages are read."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = _TRANSPORT
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Connect anew; where Redis answers and refuses, not at once."""
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, self.channel_errors):
            time.sleep(REFUSED_SECONDS)

    def create_task_handler(self, *words: Any, **options: Any) -> Any:
        """What is done with each message: it is given to its task's strategy, or dropped for good."""
        handle = super().create_task_handler(*words, **options)

        def on_message(message: Any) -> None:
            try:
                message.headers = checked_headers(message.headers, _text(message), self.strategies)
                handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except Unreadable as error:
                log.error("dropped a message that is none of ours", why=str(error))  # noqa: TRY400 - no fault of code
                message.reject_log_error(_celery_log, self.connection_errors)
            except Exception as error:  # whatever it is, the next message must have its turn
                log.exception("dropped a message that cannot be read", why=str(error))
                message.reject_log_error(_celery_log, self.connection_errors)

        return on_message


def _text(message: Any) -> Any:
    if message.content_type != "application/json":
        raise Unreadable(f"its content type is {message.content_type!r:.80}")
    return message.body
