"""Hears from the relay-pid1 of many containers of the ends of steps, with one thread.

An end is also in the step's record, so that a connection which is lost loses nothing. But the record is a file: a disk
that does not answer holds it up, and this way not.
"""

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Protocol

import structlog

from relay_core.domain.errors import RelayError
from relay_workers.containers.pid1.answers import ExecutionStatus, decode_status
from relay_workers.containers.pid1.messages import (
    MOST_BYTES,
    Key,
    MalformedMessage,
    Message,
    Verb,
    decode_message,
    encode_message,
)
from relay_workers.containers.pid1.requests import Status

EndListener = Callable[[ExecutionStatus], None]
"""Gets the state of an execution whose step has ended, and again once nothing more is written to its files."""

log = structlog.get_logger(__name__)


class Connects(Protocol):
    """The relay-pid1 of one container."""

    def connect(self) -> socket.socket:
        """Return a new connection to it."""


@dataclass(eq=False)
class _Line:
    """The connection to one container, with what is done about the end of each of its executions."""

    socket: socket.socket
    heard: dict[Key, EndListener] = field(default_factory=dict)


class Watcher:
    """Watches executions in many containers; usable from many threads. Its thread starts with the first of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[Connects, _Line] = {}
        self._by_fd: dict[int, tuple[Connects, _Line]] = {}
        self._epoll: select.epoll | None = None

    def watch(self, pid1: Connects, key: Key, heard: EndListener) -> None:
        """Call ``heard``, on another thread, about the end of an execution; at once if it has ended already.

        If relay-pid1 does not answer or closes the connection, that is logged and nothing is called.
        """
        with self._lock:
            line = self._lines.get(pid1)
        try:
            if line is None:
                line = self._opened(pid1)
            with self._lock:
                line.heard[key] = heard
            line.socket.send(encode_message(Message(Verb.STATUS, 1, Status(key, watch=True).body())))
        except (OSError, RelayError) as error:
            log.warning("the end of a step is heard of from its record only", key=str(key), error=str(error))
            self.forget(pid1, key)

    def forget(self, pid1: Connects, key: Key) -> None:
        """Stop watching an execution; do nothing if it is not watched."""
        with self._lock:
            line = self._lines.get(pid1)
            if line is None:
                return
            line.heard.pop(key, None)
            if not line.heard:
                self._drop(pid1, line)

    def _opened(self, pid1: Connects) -> _Line:
        connected = pid1.connect()
        connected.settimeout(0)
        with self._lock:
            if (known := self._lines.get(pid1)) is not None:  # another thread was faster
                connected.close()
                return known
            line = self._lines[pid1] = _Line(connected)
            self._by_fd[connected.fileno()] = (pid1, line)
            if self._epoll is None:
                self._epoll = select.epoll()
                Thread(target=self._loop, args=(self._epoll,), name="step-ends", daemon=True).start()
            self._epoll.register(connected, select.EPOLLIN)
            return line

    def _drop(self, pid1: Connects, line: _Line) -> None:
        """Close a connection. Called with the lock; closing takes it out of the epoll instance."""
        if self._lines.get(pid1) is line:
            del self._lines[pid1]
        self._by_fd.pop(line.socket.fileno(), None)
        line.socket.close()

    def _loop(self, epoll: select.epoll) -> None:
        while True:
            for fd, _ in epoll.poll():
                with self._lock:
                    found = self._by_fd.get(fd)
                if found is not None:
                    self._receive(*found)

    def _receive(self, pid1: Connects, line: _Line) -> None:
        try:
            packet = line.socket.recv(MOST_BYTES)
            if not packet:
                raise ConnectionResetError
            message = decode_message(packet)
            if message.verb not in {Verb.EXITED, Verb.DRAINED}:
                return  # the answer to the request, which says the same
            status = decode_status(message.body)
        except BlockingIOError:
            return
        except (OSError, MalformedMessage) as error:
            log.debug("the connection that watches a container has ended", error=str(error))
            with self._lock:
                self._drop(pid1, line)
            return
        with self._lock:
            heard = line.heard.get(status.key)
        if heard is not None:
            with suppress(RelayError):
                heard(status)
