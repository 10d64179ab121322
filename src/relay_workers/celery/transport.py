"""Kombu's Redis transport for a worker, made to survive malformed entries in Redis.

Kombu's own transport raises the errors of its JSON parser through the worker's main loop: one malformed entry ends the
worker, and one in `unacked` ends it again at every start. This transport logs and drops such an entry; Postgres has the
execution, and a sweep sends its message again.
"""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger(__name__)

DROPPED = "dropped an entry of Redis that is no message"
SHOWN = 200
"""Largest number of characters of a malformed entry in the log."""


class QoS(redis.QoS):
    """Puts messages back that were received and not acknowledged."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002
        """Put a message back in its queue; one that cannot be read is dropped."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except self.channel.redis_errors:
            raise
        except Exception:
            log.exception(DROPPED, tag=tag)
            self._remove_from_indices(tag).execute()


class Channel(redis.Channel):
    """A channel that drops malformed entries."""

    QoS = QoS

    @property
    def redis_errors(self) -> tuple[type[Exception], ...]:
        """Errors of Redis and of the connection to it, after which the worker makes a new connection."""
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
    """The transport of a worker's consumer."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if is_message(message):
            super()._deliver(message, queue)
        else:
            log.error(DROPPED, queue=queue, entry=repr(message)[:SHOWN])


def is_message(entry: Any) -> bool:
    """Whether an entry has all fields that Kombu reads without a check before it parses the body."""
    match entry:
        case {"properties": {"delivery_tag": str(), "delivery_info": {"exchange": str(), "routing_key": str()}}}:
            return isinstance(entry.get("headers"), dict) and isinstance(entry.get("body"), str)
        case _:
            return False
