"""The sockets between a worker and relay-pid1: the bootstrap, and the channel of the container's life.

The container sees a read-only directory with one listening socket, the bootstrap. relay-pid1 connects to it and gets a
bound socket, whose name is outside of the container, and calls ``listen`` on it. So each later connection to that name
shows the pid of the container's init (SO_PEERCRED), and nothing in the container can take its place.

Paths of sockets have at most 107 bytes, so this module names them by an open directory: ``/proc/self/fd/N/name``.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from relay_workers.containers.pid1.errors import Pid1Gone, Pid1Silent
from relay_workers.containers.pid1.messages import (
    MOST_BYTES,
    MalformedMessage,
    Message,
    Verb,
    decode_message,
    encode_message,
)

BOOTSTRAP = "bootstrap"
"""The name of the bootstrap socket in the directory that the container sees."""
_KIND = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
_CREDENTIALS = struct.Struct("iII")
_BACKLOG = 16


class BootstrapListener:
    """A bootstrap socket, which listens from its construction on. Use it as a context manager, or call `close`.

    Args:
        directory: the directory of the node that the container sees, read-only. An older socket in it is replaced.
    """

    def __init__(self, directory: Path) -> None:
        self._socket = _bound(directory / BOOTSTRAP)
        # The first process of the container is root without CAP_DAC_OVERRIDE; the worker may be another user.
        (directory / BOOTSTRAP).chmod(0o666)
        self._socket.listen(_BACKLOG)

    def __enter__(self) -> Self:
        """Return the listener."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop listening. The name stays; relay-pid1 tries again until a next listener replaces it."""
        self._socket.close()

    def hand_over(self, channel: Path, init_pid: Callable[[], int], *, seconds: float) -> None:
        """Wait for relay-pid1 and give it the channel, bound to a path; an older socket of this path is replaced.

        Args:
            channel: the path of the channel's socket, in a directory that no container sees.
            init_pid: returns the pid of the container's first process as the engine names it. It is called when a
                process has connected, so after the start of the container.
            seconds: the longest time that this takes.

        Raises:
            Pid1Silent: relay-pid1 did not connect, or did not confirm the channel in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._socket.settimeout(_rest(deadline))
                peer, _ = self._socket.accept()
            except TimeoutError:
                raise Pid1Silent(f"The container's PID 1 did not connect within {seconds:g} s") from None
            with peer, suppress(ConnectionError, TimeoutError, MalformedMessage):
                # Another process of the container may connect, too; and relay-pid1 connects again after an error.
                peer.settimeout(min(_rest(deadline), 1.0))
                if peer_pid(peer) == init_pid() and _receive(peer) is Verb.HELLO:
                    self._pass_channel(peer, channel)
                    return

    @staticmethod
    def _pass_channel(peer: socket.socket, path: Path) -> None:
        with _bound(path) as channel:
            socket.send_fds(peer, [encode_message(Message(Verb.BIND, 0, b""))], [channel.fileno()])
            if _receive(peer) is not Verb.READY:
                raise MalformedMessage("The container's PID 1 did not confirm its channel")


def connect(channel: Path, init_pid: int, *, seconds: float) -> socket.socket:
    """Return a connection to the relay-pid1 of a container.

    Args:
        channel: the path that was given to `BootstrapListener.hand_over`.
        init_pid: the pid of the container's first process as the engine names it.
        seconds: the longest time that this takes; it remains the timeout of the socket.

    Raises:
        Pid1Gone: nothing listens on the channel, or a process with another pid.
        Pid1Silent: the queue of connections is full.
    """
    connection = socket.socket(socket.AF_UNIX, _KIND)
    try:
        connection.settimeout(seconds)
        with _short(channel) as name:
            connection.connect(name)
    except (TimeoutError, BlockingIOError):
        connection.close()
        raise Pid1Silent(f"The container's PID 1 accepted no connection within {seconds:g} s") from None
    except OSError as error:
        connection.close()
        raise Pid1Gone(f"Nothing listens on the channel {channel}: {error.strerror}") from error
    if (found := peer_pid(connection)) != init_pid:
        connection.close()
        raise Pid1Gone(f"The channel {channel} belongs to process {found}, not to the container's {init_pid}")
    return connection


def peer_pid(connection: socket.socket) -> int:
    """Return the pid of the process that connected, or called ``listen``; 0 if it is outside of this pid namespace."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0])


def _receive(peer: socket.socket) -> int:
    message = decode_message(peer.recv(MOST_BYTES))
    return Verb(message.verb) if message.verb in Verb.__members__.values() else message.verb


def _rest(deadline: float) -> float:
    """Return the seconds until a deadline, at least a millisecond: 0 would mean a nonblocking socket."""
    return max(deadline - time.monotonic(), 0.001)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, _KIND)
    try:
        with _short(path) as name:
            made.bind(name)
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a short name of a path, good while the context lasts."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
