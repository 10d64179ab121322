"""Kombu's Redis transport for a worker, changed to survive malformed entries in Redis.

In Kombu's own transport, errors of the JSON parser propagate through the worker's main loop: one malformed entry stops
the worker, and one in `unacked` stops it again at every start. This transport logs and drops such an entry. Nothing is
lost, because the execution is in Postgres and a periodic task sends its message again.

Celery 5.7 closes a lost connection in two steps, of which the first takes away what Kombu 5.7 needs in the second to
put messages back. The error ended the worker's main loop if an acknowledgement had failed just before.
"""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger(__name__)

DROPPED = "dropped an entry of Redis that is no message"
SHOWN = 200
"""The maximum number of characters of a malformed entry that are logged."""


class QoS(redis.QoS):
    """Puts messages back into their queue that were received but not acknowledged."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002
        """Put a message back into its queue; drop it if it cannot be parsed."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except self.channel.redis_errors:
            raise
        except Exception:
            log.exception(DROPPED, tag=tag)
            self._remove_from_indices(tag).execute()

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put back all messages that were not acknowledged, or leave that to the sweep of messages; raise nothing."""
        try:
            super().restore_unacked_once(stderr)
        except Exception:
            log.exception("messages were not put back; a sweep sends them again")


class Channel(redis.Channel):
    """Kombu's Redis channel, changed to drop malformed entries."""

    QoS = QoS

    @property
    def redis_errors(self) -> tuple[type[Exception], ...]:
        """The errors of Redis and of the connection to it, after which the worker reconnects."""
        return (*self.connection.connection_errors, *self.connection.channel_errors)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except Empty:
            raise
        except self.redis_errors:
            raise
        except Exception:
            log.exception(DROPPED)
            return True

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        try:
            return super()._deliver_fanout_message(message, exchange)
        except self.redis_errors:
            raise
        except Exception:
            log.exception(DROPPED, entry=repr(message)[:SHOWN])
            return True


class Transport(redis.Transport):
    """Kombu's Redis transport for a worker's consumer, changed to drop malformed entries."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if is_message(message):
            super()._deliver(message, queue)
        else:
            log.error(DROPPED, queue=queue, entry=repr(message)[:SHOWN])


def is_message(entry: Any) -> bool:
    """Return whether an entry has all fields that Kombu reads unchecked before it parses the body."""
    match entry:
        case {"properties": {"delivery_tag": str(), "delivery_info": {"exchange": str(), "routing_key": str()}}}:
            return isinstance(entry.get("headers"), dict) and isinstance(entry.get("body"), str)
        case _:
            return False
