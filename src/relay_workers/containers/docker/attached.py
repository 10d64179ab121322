"""Execs in a container whose input and output are connected to this worker.

Relay runs its own small helper programs this way: the killer (`kill.sh`) and the port forwarder's helper (`dial`).
"""

import contextlib
import io
import socket
import struct
import time
from typing import Any, Self

import docker

from relay_workers.containers.docker.failure import translated
from relay_workers.containers.port import EngineUnavailable

STDOUT = 1
MOST_ANSWER_BYTES = 1024
"""The maximum length of a helper's answer in bytes, including the frame headers of the stream."""
_HEADER = struct.Struct(">BxxxL")


class FrameReader:
    """Parses the byte stream of an attached exec.

    The Docker API sends frames: the number of the stream (1 is stdout), a length, and that many bytes.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def pending_bytes(self) -> int:
        """The number of received bytes that belong to a frame that is still incomplete."""
        return len(self._pending)

    def feed(self, data: bytes) -> bytes:
        """Add received bytes and return the stdout bytes of all frames that are now complete. Drop stderr bytes."""
        self._pending += data
        output = bytearray()
        while len(self._pending) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._pending)
            end = _HEADER.size + length
            if len(self._pending) < end:
                break
            if stream == STDOUT:
                output += self._pending[_HEADER.size : end]
            del self._pending[:end]
        return bytes(output)


def start_attached(api: docker.APIClient, exec_id: str) -> tuple[socket.socket, bytes]:
    """Start an exec that was created with attached streams.

    Returns:
        The connection, which the caller must close, and the bytes of the stream that were already read from it.

    Raises:
        EngineUnavailable: the engine failed, or is reached over TLS, where the SDK does not give access to the socket.
        StepFailed: ``container_missing``, or ``start_failed``: the container has no such program.
    """
    with translated():
        stream: Any = api.exec_start(exec_id, socket=True)
    # The SDK returns a SocketIO for a UNIX socket and a socket for TCP; with TLS it keeps the socket to itself.
    raw = getattr(stream, "_sock", stream)
    if type(raw) is not socket.socket:
        raise EngineUnavailable("attached execs need an engine on a UNIX socket or plain TCP", retryable=False)
    ahead = _read_ahead(getattr(stream, "_response", None), raw)
    mine = raw.dup()
    stream.close()
    return mine, ahead


def _read_ahead(response: Any, raw: socket.socket) -> bytes:
    """Return the bytes that the HTTP client buffered after the response headers; they belong to the exec's stream."""
    buffered = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
    if not isinstance(buffered, io.BufferedReader):
        return b""
    raw.settimeout(0)  # so that peek does not wait on an empty buffer
    try:
        with contextlib.suppress(BlockingIOError):
            return buffered.read1() if buffered.peek(1) else b""
    finally:
        raw.settimeout(None)
    return b""


class HelperConnection:
    """Exchanges lines of text with a helper in a container. Leaving the context manager stops the helper.

    The helper runs in the container's own shell, which a root step may have replaced. Therefore an answer has a maximum
    length and a deadline, and a line that arrives before the question is an error.

    Args:
        api: a client of the engine.
        exec_id: an exec that was created with attached streams.
        timeout_seconds: the longest wait for one answer.
    """

    def __init__(self, api: docker.APIClient, exec_id: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._socket, ahead = start_attached(api, exec_id)
        self._frames = FrameReader()
        self._text = bytearray(self._frames.feed(ahead))

    def ask(self, line: str) -> str:
        """Send a line and return the helper's answer line without its newline.

        Raises:
            EngineUnavailable: the helper exited, does not answer in time, or answers in a way that no helper of Relay
                does.
        """
        deadline = time.monotonic() + self._timeout_seconds
        if self._text:
            raise EngineUnavailable("a helper in the container answered before it was asked", retryable=False)
        try:
            self._socket.settimeout(self._timeout_seconds)
            self._socket.sendall(line.encode() + b"\n")
            while b"\n" not in self._text:
                self._receive(deadline)
        except OSError as error:
            raise EngineUnavailable(f"lost a helper in the container: {error}", retryable=True) from error
        answer, _, rest = bytes(self._text).partition(b"\n")
        self._text = bytearray(rest)
        return answer.decode("ascii", "replace")

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineUnavailable("a helper in the container did not answer in time", retryable=True)
        self._socket.settimeout(left)
        data = self._socket.recv(MOST_ANSWER_BYTES)
        if not data:
            raise EngineUnavailable("a helper in the container ended before it answered", retryable=True)
        self._text += self._frames.feed(data)
        if len(self._text) + self._frames.pending_bytes > MOST_ANSWER_BYTES:
            message = f"a helper in the container answered with more than {MOST_ANSWER_BYTES} bytes"
            raise EngineUnavailable(message, retryable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
