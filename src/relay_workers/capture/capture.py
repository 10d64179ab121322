"""The capture of one execution: what the pump keeps of it, and what the runner sees of it."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from relay_core.domain.vocabulary import Reason, Stream
from relay_core.postgres.logs import Append, LogStore, StreamEnd, StreamInfo
from relay_workers.capture.stream import AllHash, CapturedStream
from relay_workers.hostfs import OpenFile, Tampered

OWN_STREAMS = (Stream.STDOUT, Stream.STDERR)


class LogFiles(Protocol):
    """The part of a run directory that is captured."""

    def open_log(self, stream: Stream) -> OpenFile:
        """The raw file of `stdout` or `stderr`."""
        ...

    def open_alive(self) -> int:
        """The FIFO whose other end the supervisor holds."""
        ...


@dataclass(frozen=True)
class CaptureRequest:
    """A run to be captured."""

    execution_id: UUID
    fence: int
    run_dir: LogFiles
    secrets: Sequence[bytes]
    log_bytes: int
    """Stored bytes of both streams stop exactly here."""
    wake: threading.Event
    """Set whenever something happens that the runner should look at."""


@dataclass(frozen=True)
class CaptureEnd:
    """A log that is complete."""

    streams: Mapping[str, StreamInfo]
    cut: bool
    """A background process still held the log when it was taken as ended."""
    stopped_reason: Reason | None

    def ends(self) -> dict[str, StreamEnd]:
        """What the streams are closed with."""
        return {name: StreamEnd(info.sha256 or "", info.truncated) for name, info in self.streams.items()}


class Capture:
    """Made by `LogPump.attach`. The pump's thread moves it; the runner's thread looks at it and ends it."""

    def __init__(self, request: CaptureRequest, store: LogStore, poke: Callable[["Capture"], None]) -> None:
        self.execution_id = request.execution_id
        self.fence = request.fence
        self.started = threading.Event()
        self.exited = threading.Event()
        self.supervisor_dead = threading.Event()
        self.drained = threading.Event()
        self.stopped_reason: Reason | None = None
        """Why nothing more is stored."""
        self.stale = False
        """The log is another owner's."""
        self.last_output = time.monotonic()
        self._wake = request.wake
        self._poke = poke
        self._cap = request.log_bytes
        self._target: dict[str, int] | None = None
        self.alive_fd = request.run_dir.open_alive()
        self.streams: dict[str, CapturedStream] = {}
        sizes = store.sizes(request.execution_id)
        for name in OWN_STREAMS:
            file = request.run_dir.open_log(name)
            self.streams[name] = CapturedStream(name, file, sizes[name].bytes, request.secrets)
        self._all_hash = AllHash()
        if sizes[Stream.ALL].bytes:
            self._restore_hashes(store, sizes)

    def _restore_hashes(self, store: LogStore, sizes: Mapping[str, StreamInfo]) -> None:
        for name, stream in self.streams.items():
            for piece in store.iter_range(self.execution_id, name, 0, sizes[name].bytes):
                stream.sha256.update(piece)
        self._all_hash.restore(store.iter_range(self.execution_id, Stream.ALL, 0, sizes[Stream.ALL].bytes))

    # the pump's side

    def read_alive(self) -> bool:
        """Take what the supervisor said; False once it is dead.

        A FIFO that nobody has opened yet reads as if its writer were dead: only an end after a start counts.
        """
        while True:
            try:
                said = os.read(self.alive_fd, 64)
            except BlockingIOError:
                return True
            if b"s" in said:
                self.started.set()
            if b"x" in said:
                self.exited.set()
            if not said:
                dead = self.started.is_set()
                if dead:
                    self.supervisor_dead.set()
                self.notify()
                return not dead
            self.notify()

    def collect(self) -> tuple[list[Append], bool]:
        """What to store next, and whether there will be more at once."""
        appends: list[Append] = []
        more = False
        for name, stream in self.streams.items():
            if self.stopped_reason is None:
                try:
                    more |= stream.fill(self._end_of(name, stream))
                except Tampered as error:
                    self.stop(Reason(error.reason))
            if self._target is not None and not more:
                stream.finish()
            data = self._within_cap(stream, appends)
            if data:
                appends.append(Append(self.execution_id, self.fence, name, stream.stored, data))
        if self._target is not None and not appends and not more:
            self.drained.set()
        return appends, more

    def _end_of(self, name: str, stream: CapturedStream) -> int:
        size = stream.size()
        return size if self._target is None else min(size, self._target[name])

    def _within_cap(self, stream: CapturedStream, appends: Sequence[Append]) -> bytes:
        stored = sum(one.stored for one in self.streams.values()) + sum(len(append.data) for append in appends)
        room = max(0, self._cap - stored)
        if len(stream.pending) > room:
            kept = stream.pending[:room]
            stream.drop_pending()
            stream.pending = kept
            self.stop(Reason.LOG_LIMIT)
        return stream.pending

    def stored(self, append: Append) -> None:
        """A chunk is in Postgres."""
        stream = self.streams[append.stream]
        self._all_hash.before(stream)
        stream.advance(append.data)
        self._all_hash.after(append.data)
        self.last_output = time.monotonic()

    def stop(self, reason: Reason) -> None:
        """Store nothing beyond what is pending; the first reason stays."""
        if self.stopped_reason is None:
            self.stopped_reason = reason
            for stream in self.streams.values():
                stream.truncated = True
            self.notify()

    def lose(self) -> None:
        """The log is another owner's: nothing more happens here."""
        self.stale = True
        self.drained.set()
        self.notify()

    def notify(self) -> None:
        """Let the runner look."""
        self._wake.set()

    # the runner's side

    def finish(self, tail_seconds: float) -> CaptureEnd:
        """Read the log to its end and return what is stored.

        It ends when the supervisor has gone (both copiers have reached the end by then), or with the sizes found
        ``tail_seconds`` after this call, when a background process still holds it.
        """
        held = not self.supervisor_dead.wait(tail_seconds)
        self._target = {name: os.fstat(stream.fd).st_size for name, stream in self.streams.items()}
        self._poke(self)
        self.drained.wait()
        infos = {
            name: StreamInfo(stream.stored, stream.sha256.hexdigest(), stream.truncated, closed=True)
            for name, stream in self.streams.items()
        }
        total = sum(info.bytes for info in infos.values())
        truncated = any(info.truncated for info in infos.values())
        digest = self._all_hash.hexdigest() if total else hashlib.sha256().hexdigest()
        infos[Stream.ALL] = StreamInfo(total, digest, truncated, closed=True)
        return CaptureEnd(infos, held, self.stopped_reason)
