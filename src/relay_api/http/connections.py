"""Limits of client connections: how many are open, and how long a client may take to send a request's headers."""

import asyncio
import logging
import time
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Seconds for the headers of a request, from its first byte, or from the start of a connection that sent none."""
TELL_SECONDS = 60.0
"""Seconds between two log lines about the same trouble with connections."""

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n"
    b"Retry-After: 2\r\nConnection: close\r\n\r\ntoo many connections\r\n"
)

log = structlog.get_logger(__name__)


def protocol(most: int, header_seconds: float = HEADER_SECONDS) -> type[H11Protocol]:
    """Uvicorn's HTTP protocol with bounds.

    Args:
        most: connections at once; further ones are answered 503 and closed.
        header_seconds: a client that has not sent a request's headers by then is cut off.
    """
    refusals = Seldom()

    class Bounded(H11Protocol):
        """One connection."""

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
    """Counts events, and says when the next log line about them is due."""

    def __init__(self, seconds: float = TELL_SECONDS) -> None:
        self._seconds = seconds
        self._untold = 0
        self._told_at: float | None = None

    def count(self) -> int:
        """How often it happened since it was last told, when it is to be told now; else 0."""
        self._untold += 1
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < self._seconds:
            return 0
        told, self._untold, self._told_at = self._untold, 0, now
        return told


class AcceptTrouble(logging.Filter):
    """Lets asyncio say once a minute that it cannot accept, which it says up to a thousand times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: Any) -> bool:
        """Whether to show a line."""
        if not record.getMessage().startswith("socket.accept()"):
            return True
        return self._seldom.count() > 0
