"""One connection to relay-pid1 that many threads use: answers find the request that has their tag."""

import array
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from threading import Condition, Lock
from typing import TypeVar

from relay_workers.containers.pid1.answers import ExecutionStatus, decode_status
from relay_workers.containers.pid1.messages import (
    ANSWER,
    MOST_BYTES,
    MOST_DESCRIPTORS,
    MalformedMessage,
    Message,
    Verb,
    decode_message,
    encode_message,
)
from relay_workers.containers.pid1.requests import Request

_Result = TypeVar("_Result")
_DESCRIPTORS_SPACE = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)


class ConnectionLost(Exception):  # noqa: N818 - reads as what it says
    """The connection ended.

    Attributes:
        sent: whether the request may have reached relay-pid1.
    """

    def __init__(self, *, sent: bool) -> None:
        super().__init__("The connection to the container's PID 1 ended")
        self.sent = sent


@dataclass
class Reply:
    """The body of an answer, and the descriptors that came with it; `take` or `close` them."""

    body: bytes
    descriptors: list[int]

    def take(self) -> int:
        """Return the only descriptor, which the caller closes.

        Raises:
            MalformedMessage: there is none, or there are several.
        """
        if len(self.descriptors) != 1:
            raise MalformedMessage(f"The answer should carry one descriptor, and carries {len(self.descriptors)}")
        return self.descriptors.pop()

    def close(self) -> None:
        """Close the descriptors that were not taken."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class Connection:
    """A connected socket; usable from many threads.

    No thread of its own reads the socket: of the threads that wait for answers one reads, and hands each answer to the
    thread that waits for it.

    Args:
        connected: the socket, which `close` closes.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(0)
        self._tags = count(1)
        self._changed = Condition(Lock())
        self._waiting: dict[int, Verb] = {}
        self._replies: dict[int, Reply] = {}
        self._events: deque[ExecutionStatus] = deque()
        self._reading = False
        self._users = 0
        self._lost = False

    def close(self) -> None:
        """End the connection; calls that wait raise `ConnectionLost`."""
        with self._changed:
            self._lose()

    def call(self, request: Request, descriptors: Sequence[int] = (), *, seconds: float) -> Reply:
        """Send a request and return the body of its answer, with its descriptors.

        Raises:
            TimeoutError: there was no answer in time; a later one is dropped.
            ConnectionLost: the connection ended before the answer.
            MalformedMessage: the answer is none of the protocol. The connection is closed.
        """
        deadline = time.monotonic() + seconds
        tag = next(self._tags)
        packet = encode_message(Message(request.verb, tag, request.body()))
        with self._used():
            self._waiting[tag] = request.verb
            try:
                self._outside(lambda: self._send(packet, descriptors, deadline))
                reply = self._wait(lambda: self._replies.pop(tag, None), deadline)
            finally:
                del self._waiting[tag]
        if reply is None:
            raise TimeoutError
        return reply

    def next_event(self, *, seconds: float) -> ExecutionStatus | None:
        """Return the next event of the executions that this connection watches; None if there is none in time.

        Raises:
            ConnectionLost: the connection ended.
            MalformedMessage: as `call`.
        """
        with self._used():
            return self._wait(
                lambda: self._events.popleft() if self._events else None,
                time.monotonic() + seconds,
            )

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Hold the lock, and keep the socket's descriptor from being closed, while the context lasts."""
        with self._changed:
            if self._lost:
                raise ConnectionLost(sent=False)
            self._users += 1
            try:
                yield
            finally:
                self._users -= 1
                if self._lost:
                    self._lose()

    def _lose(self) -> None:
        """Wake all threads that use the connection; the last of them closes it."""
        self._lost = True
        self._changed.notify_all()
        while self._replies:
            self._replies.popitem()[1].close()
        if not self._users:
            self._socket.close()
        elif self._socket.fileno() >= 0:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def _outside(self, act: Callable[[], _Result]) -> _Result:
        """Do something that waits, without the lock."""
        self._changed.release()
        try:
            return act()
        finally:
            self._changed.acquire()

    def _send(self, packet: bytes, descriptors: Sequence[int], deadline: float) -> None:
        while True:
            try:
                socket.send_fds(self._socket, [packet], descriptors)
            except BlockingIOError:
                if not _ready(self._socket, select.POLLOUT, deadline):
                    raise TimeoutError from None
            except OSError as error:
                self.close()
                raise ConnectionLost(sent=False) from error
            else:
                return

    def _wait(self, found: Callable[[], _Result | None], deadline: float) -> _Result | None:
        """Return the first result of ``found`` that is not None; None after the deadline. Called with the lock."""
        while True:
            if (result := found()) is not None:
                return result
            if self._lost:
                raise ConnectionLost(sent=True)
            rest = deadline - time.monotonic()
            if rest <= 0:
                return None
            if self._reading:
                self._changed.wait(rest)
                continue
            self._reading = True
            try:
                received = self._outside(lambda: _receive(self._socket, deadline))
                if received:
                    self._sort(*received)
            except (OSError, MalformedMessage) as error:
                self._lose()
                if isinstance(error, MalformedMessage):
                    raise
                raise ConnectionLost(sent=True) from error
            finally:
                self._reading = False
                self._changed.notify_all()

    def _sort(self, packet: bytes, descriptors: list[int]) -> None:
        """Put an event or an answer where its reader finds it; drop an answer that no thread waits for."""
        reply = Reply(b"", descriptors)
        try:
            message = decode_message(packet)
            if message.verb in {Verb.EXITED, Verb.DRAINED}:
                self._events.append(decode_status(message.body))
            elif _is_answer(message, self._waiting.get(message.tag)):
                self._replies[message.tag] = Reply(message.body, list(descriptors))
                descriptors.clear()
        finally:
            reply.close()


def _is_answer(message: Message, verb: Verb | None) -> bool:
    """Return whether a message is the answer that a thread waits for.

    Args:
        message: an answer.
        verb: the verb of the request with the tag of the answer; None if no thread waits for it.

    Raises:
        MalformedMessage: it answers another verb.
    """
    if verb is None:
        return False
    if message.verb != verb | ANSWER:
        raise MalformedMessage(f"The answer to {verb.name.lower()} has the verb {message.verb:#x}")
    return True


def _receive(connected: socket.socket, deadline: float) -> tuple[bytes, list[int]] | None:
    """Return a packet and its descriptors; None after the deadline.

    Raises:
        ConnectionError: the other side ended the connection.
        MalformedMessage: the packet or its descriptors did not fit.
    """
    if not _ready(connected, select.POLLIN, deadline):
        return None
    try:
        packet, ancillary, flags, _ = connected.recvmsg(MOST_BYTES, _DESCRIPTORS_SPACE, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    reply = Reply(packet, list(descriptors))
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        reply.close()
        raise MalformedMessage("A message of the container's PID 1 is too long, or its descriptors are too many")
    if not packet:
        reply.close()
        raise ConnectionResetError
    return packet, reply.descriptors


def _ready(connected: socket.socket, events: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(connected, events)
    return bool(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
