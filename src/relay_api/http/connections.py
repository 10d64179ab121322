"""Limit client connections: how many are open, and how long a client may take to send a request's headers."""

import asyncio
import logging
import time
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Seconds for the headers of a request, counted from its first byte; for the first request, from the connection's
start."""
TELL_SECONDS = 60.0
"""Least seconds between two log lines about the same problem with connections."""

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n"
    b"Retry-After: 2\r\nConnection: close\r\n\r\ntoo many connections\r\n"
)

log = structlog.get_logger(__name__)


def protocol(most: int, header_seconds: float = HEADER_SECONDS) -> type[H11Protocol]:
    """Return a subclass of uvicorn's HTTP protocol that limits connections.

    Args:
        most: most connections at once; further connections are answered with 503 and closed.
        header_seconds: seconds that a client may take to send the headers of a request; then the connection is aborted.
    """
    refusals = Seldom()

    class Bounded(H11Protocol):
        """One connection of a client."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                if told := refusals.count():
                    log.warning("too many connections: some were refused", refused=told, most=most)
                transport.write(_REFUSAL)
                transport.close()
                return
            self._deadline = self.loop.call_later(header_seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._forget_deadline()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(header_seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            super().connection_lost(exc)

        def _forget_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Bounded


class Seldom:
    """Counts events and limits how often they are logged.

    Args:
        seconds: least seconds between two log lines.
    """

    def __init__(self, seconds: float = TELL_SECONDS) -> None:
        self._seconds = seconds
        self._untold = 0
        self._told_at: float | None = None

    def count(self) -> int:
        """Count one event. If a log line is due, return the number of events since the last one, else 0."""
        self._untold += 1
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < self._seconds:
            return 0
        told, self._untold, self._told_at = self._untold, 0, now
        return told


class AcceptTrouble(logging.Filter):
    """Log filter that passes asyncio's message about a failed `socket.accept()` at most once a minute.

    Without it, asyncio logs this message up to a thousand times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: Any) -> bool:
        """Return whether to log a record: False for a repeated message about `socket.accept()`."""
        if not record.getMessage().startswith("socket.accept()"):
            return True
        return self._seldom.count() > 0
