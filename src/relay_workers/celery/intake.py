"""Controls which queues a worker consumes.

The desired state of each queue is kept in the worker's process and compared there with the actual state. Celery's
remote control is not used, because its commands go through Redis: a command sent while Redis is away, or before the
worker has connected, is lost, and a worker that assumes it was carried out would never consume again.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import structlog
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from relay_workers.celery.message import UnreadableMessage, checked_headers
from relay_workers.celery.transport import Transport

log = structlog.get_logger(__name__)
_celery_log = get_logger(__name__)
_TRANSPORT = f"{Transport.__module__}:{Transport.__qualname__}"
"""The import path of the transport. It must be text because `inspect stats`, used by Flower and the local stack, writes
it as JSON."""


REFUSED_SECONDS = 1.0
"""Seconds to wait before reconnecting to a Redis that answers but refuses a command."""


class Intake:
    """The desired state of each queue of a worker (consumed or not), and the code that applies it.

    Thread-safe: periodic threads call `want` and `compare`; the switching itself runs in Celery's main loop.

    Args:
        wanted: by queue name, whether the queue should be consumed.
    """

    def __init__(self, wanted: Mapping[str, bool]) -> None:
        self._wanted = dict(wanted)
        self._consumer: Any = None

    def want(self, queue: str, *, consumed: bool) -> None:
        """Set whether a queue should be consumed; return at once.

        Celery's main loop starts or stops consuming it soon after, or when it next connects.
        """
        self._wanted[queue] = consumed
        self.compare()

    def consumes(self, queue: str) -> bool:
        """Return whether this worker consumes a queue at present."""
        tasks = None if self._consumer is None else self._consumer.task_consumer
        return tasks is not None and tasks.consuming_from(queue)

    def compare(self) -> None:
        """Make Celery's main loop switch each queue whose actual state differs from the desired one."""
        if self._consumer is not None and self._consumer.task_consumer is not None and self._differences():
            self._consumer.call_soon(self._switch)

    def connecting(self, consumer: Any) -> None:
        """Select the desired queues in a consumer that is about to connect; called in Celery's main loop."""
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
            return  # it is connecting, and `connecting` selects the desired queues
        for name in self._differences():
            consumed = self._wanted[name]
            log.info("consumes a queue" if consumed else "consumes a queue no more", queue=name)
            switch = self._consumer.add_task_queue if consumed else self._consumer.cancel_task_queue
            switch(name)


class RelayConsumer(Consumer):
    """Celery's consumer. It consumes the queues of the `Intake` and drops messages that Relay did not send."""

    intake: ClassVar[Intake] = Intake({})
    """The controller of the queues; the bootstrap sets it."""
    leave_executions: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    """Gives up the executions of this worker, which go on for others; the bootstrap sets it."""

    def start(self) -> None:
        """Run Celery's main loop. If an error ends it, this worker consumes nothing more: it leaves its executions.

        Celery ends a worker without a main loop only after its executions, which may take hours.
        """
        try:
            super().start()
        except Exception:
            type(self).leave_executions()
            raise

    def connect(self) -> Any:
        """Connect to the broker. Celery calls it for each new connection, before it consumes."""
        self.intake.connecting(self)
        return super().connect()

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Return a connection for reading messages, with the transport that survives malformed entries."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = _TRANSPORT
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Reconnect; if Redis answers but refuses a command, wait `REFUSED_SECONDS` first."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception:  # what is left of the lost connection must not keep the worker from the next one
            log.exception("a lost connection to the broker could not be closed")
        if isinstance(exc, self.channel_errors):
            time.sleep(REFUSED_SECONDS)

    def create_task_handler(self, *words: Any, **options: Any) -> Any:
        """Return the message handler, which checks each message and passes it to its task's strategy or drops it."""
        handle = super().create_task_handler(*words, **options)

        def on_message(message: Any) -> None:
            try:
                message.headers = checked_headers(message.headers, _text(message), self.strategies)
                handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except UnreadableMessage as error:
                log.error("dropped a message that is not of Relay", why=str(error))  # noqa: TRY400 - the message is at fault, not the code
                message.reject_log_error(_celery_log, self.connection_errors)
            except Exception as error:  # the next message must be handled in any case
                log.exception("dropped a message that cannot be read", why=str(error))
                message.reject_log_error(_celery_log, self.connection_errors)

        return on_message


def _text(message: Any) -> Any:
    if message.content_type != "application/json":
        raise UnreadableMessage(f"its content type is {message.content_type!r:.80}")
    return message.body
