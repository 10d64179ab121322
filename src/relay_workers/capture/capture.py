"""The capture of one execution: what the pump keeps of it, and what the runner sees of it."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain.errors import Stale
from relay_core.domain.logs.append import Refused
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.retry import Backoff, until_available
from relay_core.store.logs.log_store import Append, LogStore, LogStoreUnavailable, StreamInfo
from relay_workers.capture.digests import Digests
from relay_workers.capture.request import Backlog, CaptureEnd, CaptureRequest, Collected
from relay_workers.capture.stream import CapturedStream
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)

OWN_STREAMS = (Stream.STDOUT, Stream.STDERR)
FIFO_BYTES = 64 << 10
"""What a pipe holds."""
READS_OF_FIFO = 4
SETTLE_LOOK_SECONDS = 1.0
"""Between two looks at whether the worker goes away, which wakes nobody."""
BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)

T = TypeVar("T")


class Capture:
    """Made by `LogPump.attach`. The pump's thread moves it; the runner's thread looks at it and ends it.

    Args:
        request: what to capture.
        store: where to.
        call: runs a function in the pump's thread, soon, and looks at this capture after that.

    Raises:
        TamperedFile: its files are not what Relay made.
    """

    def __init__(
        self, request: CaptureRequest, store: LogStore, call: Callable[["Capture", Callable[[], None]], None]
    ) -> None:
        self.execution_id = request.execution_id
        run = {"execution_id": str(request.execution_id), "fence": request.fence}
        self._log = log.bind(**structlog.contextvars.get_contextvars() | run)  # for the pump's thread, which has none
        self.started = threading.Event()
        self.exited = threading.Event()
        self.supervisor_dead = threading.Event()
        self.heard = threading.Event()
        """Its supervisor was listened to: what is known of its end is no longer only not known yet."""
        self.stopped_reason: Reason | None = None
        """Why its log cannot be stored any further."""
        self.stale = False
        """The log is another owner's."""
        self.faults = 0
        """How often reading it broke."""
        self._request = request
        self._store = store
        self._call = call
        self._released = threading.Event()
        self._settled = threading.Event()
        """Released, and no batch with bytes of it is on its way."""
        self._drained = threading.Event()
        self._exited_at = 0.0
        self._halted = False
        """Nothing more is read: full, tampered or lost."""
        self._target: dict[str, int] | None = None
        self._on_their_way = 0
        """Batches that contain bytes of it and are not settled."""
        self._behind: Mapping[str, int] | None = None
        """Sizes to go back to: the stored log is not what was thought."""
        if request.started:
            self.started.set()
        sizes = store.sizes(request.execution_id)
        self._digests = None if sizes[Stream.ALL].bytes else Digests()
        """None: unknown, to be made of the stored log."""
        with ExitStack() as undo:
            self.alive_fd = request.run_dir.open_alive()
            undo.callback(os.close, self.alive_fd)
            self.streams: dict[str, CapturedStream] = {}
            for name in OWN_STREAMS:
                file = request.run_dir.open_log(name)
                undo.callback(os.close, file.fd)
                self.streams[name] = CapturedStream(name, file, sizes[name].bytes, request.secrets)
            undo.pop_all()

    @property
    def last_output(self) -> float:
        """When its log last grew, on the monotonic clock; when it was attached, before that."""
        with suppress(OSError):  # released meanwhile
            if self.has_changed():
                return time.monotonic()  # not read yet: Postgres is away
        return max(stream.last_growth for stream in self.streams.values())

    @property
    def seconds_exited(self) -> float:
        """Since its exit was recorded; 0 before."""
        return time.monotonic() - self._exited_at if self.exited.is_set() else 0.0

    def backlog(self) -> Backlog:
        """From any thread."""
        sizes = 0
        with suppress(OSError):  # released meanwhile
            sizes = sum(os.fstat(stream.fd).st_size for stream in self.streams.values())
        return Backlog(max(0, sizes - sum(stream.assigned for stream in self.streams.values())), sizes)

    # the pump's thread

    def hear(self, *, hung_up: bool) -> None:
        """Take what the supervisor said.

        A FIFO that nobody has opened yet reads as if its writer were dead: it counts when there has been a writer.
        """
        said = b"?"
        for _ in range(READS_OF_FIFO):  # not for ever: the step can write to it, too
            try:
                said = os.read(self.alive_fd, FIFO_BYTES)
            except BlockingIOError:
                break
            if not said:
                break
            if b"s" in said:
                self.started.set()
            if b"x" in said and not self.exited.is_set():
                self._exited_at = time.monotonic()
                self.exited.set()
        if not said and (hung_up or self.started.is_set()):
            self.supervisor_dead.set()
        self.heard.set()
        self.notify()

    def has_changed(self) -> bool:
        """Whether its files have grown or changed since they were last read."""
        return not self._halted and any(stream.has_changed() for stream in self.streams.values())

    def collect(self) -> Collected:
        """The next bytes to store, in order; raises nothing."""
        appends: list[Append] = []
        more = False
        try:
            for stream in self.streams.values():
                if self._halted or self._behind is not None:
                    more = False
                    break
                end = stream.size() if self._target is None else min(stream.size(), self._target[stream.name])
                lines = self._target is None and self._both_in_use(stream)
                data = stream.take(end, whole_lines=lines)
                if self._target is not None and stream.read >= end:
                    data += stream.rest()
                self._assign(stream, data, appends)
                more |= stream.read < end and not (lines and stream.waits_for_line)
        except TamperedFile as error:
            self._log.warning("a log was tampered with", error=str(error))
            self._tampered()
        except OSError:
            self._log.exception("a log cannot be read")
            self.stop(Reason.INTERNAL_ERROR)
        if not (appends or more or self._on_their_way or self._target is None or self._drained.is_set()):
            self._end_here()
        waits = [at for stream in self.streams.values() if (at := stream.waits_for_line) is not None]
        again_at = min(waits) if waits and not (self._halted or self._target) else None
        return Collected(appends, more and not self._halted, again_at)

    def _both_in_use(self, stream: CapturedStream) -> bool:
        """Whether the other stream could come in between, so that in `all` a line would be cut."""
        return any(other.assigned or other.has_changed() for other in self.streams.values() if other is not stream)

    def assigned(self) -> dict[str, int]:
        """Of each stream: bytes that are stored or on their way."""
        return {name: stream.assigned for name, stream in self.streams.items()}

    def read_again(self, assigned: Mapping[str, int]) -> None:
        """Go on behind these bytes: what was read since is in no batch."""
        self._digests = None
        try:
            for name, stream in self.streams.items():
                stream.go_to(assigned[name])
        except TamperedFile:
            self._tampered()
        except OSError:
            self._log.exception("a log cannot be read")
            self.stop(Reason.INTERNAL_ERROR)

    def sent(self) -> None:
        """A batch with bytes of it is on its way."""
        self._on_their_way += 1

    def moved(self) -> None:
        """One of its files was renamed, which Relay never does."""
        if not self._halted:
            self._tampered()

    def settle(self, refused: Refused | None, *, broken: bool) -> None:
        """One batch with bytes of it is done with."""
        self._on_their_way -= 1
        self._request.stored.set()
        if broken:
            self.stop(Reason.INTERNAL_ERROR)
        elif refused is not None and refused.sizes is None:
            self.lose()
        elif refused is not None:
            self._behind = refused.sizes
        if self._released.is_set():
            self._note_settled()
        elif self._behind is not None and self._on_their_way == 0:
            self._go_back(self._behind)

    def _note_settled(self) -> None:
        if self._on_their_way == 0:
            self._settled.set()
            self.notify()

    def release(self) -> None:
        """Close its files: it is no longer the pump's."""
        os.close(self.alive_fd)
        for stream in self.streams.values():
            stream.close()
        self._released.set()
        self.notify()
        self._note_settled()

    def notify(self) -> None:
        """Let the runner look."""
        self._request.wake.set()

    def stop(self, reason: Reason) -> None:
        """Read nothing more; the first reason stays."""
        self._halted = True
        self.stopped_reason = self.stopped_reason or reason
        self.notify()

    def lose(self) -> None:
        """The log is another owner's: nothing more happens here."""
        self.stale = True
        self._halted = True
        self.notify()

    def _assign(self, stream: CapturedStream, data: bytes, appends: list[Append]) -> None:
        room = self._request.log_bytes - sum(one.assigned for one in self.streams.values())
        if len(data) > room:
            data = data[:room]
            stream.truncated = True
            self.stop(Reason.LOG_LIMIT)
        if data:
            appends.append(Append(self.execution_id, self._request.fence, stream.name, stream.assigned, data))
            stream.assigned += len(data)
            if self._digests is not None:
                self._digests.update(stream.name, data)

    def _tampered(self) -> None:
        for stream in self.streams.values():
            stream.truncated = True  # what is stored is what the process wrote, but perhaps not all of it
        self.stop(Reason.LOG_TAMPERED)

    def _go_back(self, sizes: Mapping[str, int]) -> None:
        """Postgres has less than it once said (it crashed before it had written its log), so store that again."""
        self._log.warning("a log goes back to what is stored", stored=dict(sizes))
        self._behind = None
        self._digests = None
        if self.stopped_reason is Reason.LOG_LIMIT:
            self._halted = False
        self.read_again(sizes)

    def _end_at_present_size(self) -> None:
        self._target = {name: os.fstat(stream.fd).st_size for name, stream in self.streams.items()}

    def _end_here(self) -> None:
        for stream in self.streams.values():
            stream.truncated |= os.fstat(stream.fd).st_size > stream.assigned
        self._drained.set()
        self.notify()

    def _learn(self, secrets: Sequence[bytes]) -> None:
        if self._halted or self._drained.is_set():
            return
        try:
            for stream in self.streams.values():
                stream.learn(secrets)
        except TamperedFile:
            self._tampered()

    # the runner's thread

    def learn(self, secrets: Sequence[bytes]) -> None:
        """Mask these from now on, in all that is not on its way to the store yet; returns at once."""
        self._call(self, partial(self._learn, secrets))

    def finish(self, tail_seconds: float) -> CaptureEnd:
        """Read the log to its end and return what is stored, once it is on disk there.

        It ends when the supervisor has gone (both copiers have reached the end by then), or with the sizes found
        ``tail_seconds`` after the exit (after this call, where none is known), when a background process holds it.

        Raises:
            Stale: the run is no longer ours, or this worker is going away.
        """
        began = self._exited_at if self.exited.is_set() else time.monotonic()
        held = not self.supervisor_dead.wait(max(0.0, began + tail_seconds - time.monotonic()))
        self._call(self, self._end_at_present_size)
        while True:
            self._await_drained()
            stored = self._patiently(lambda: self._store.confirm(self.execution_id, self._request.fence))
            if all(stored[name] == stream.assigned for name, stream in self.streams.items()):
                break
            self._drained.clear()
            self._call(self, partial(self._go_back, stored))
        self._check_place()
        self._halted = True  # the files may be removed now
        digests = self._digests or self._patiently(self._digests_of_stored)
        return self._ended(digests.hexdigests(), cut=held)

    def await_settled(self, stopping: threading.Event) -> None:
        """After a `detach`: return when nothing of it will be stored any more, so that what is stored can be hashed.

        Returns earlier when the run is no longer ours or the worker goes away: then no end is written here.
        """
        wake = self._request.wake
        while True:
            wake.clear()
            gone = self.stale or self._request.lost.is_set() or stopping.is_set()
            if gone or self._settled.is_set():
                return
            wake.wait(SETTLE_LOOK_SECONDS)

    def _await_drained(self) -> None:
        wake = self._request.wake
        while True:
            wake.clear()
            self._check_ours()
            if self._drained.is_set():
                return
            wake.wait()

    def _patiently(self, query: Callable[[], T]) -> T:
        def is_retryable(error: Exception) -> bool:
            return isinstance(error, LogStoreUnavailable | SQLAlchemyError)

        def report(error: Exception, pause: float) -> None:
            log.warning("the end of a log waits for Postgres", error=str(error), retry_seconds=pause)

        def wait(pause: float) -> None:
            self._released.wait(pause)
            self._check_ours()

        return until_available(query, BACKOFF, is_retryable=is_retryable, report=report, wait=wait)

    def _check_ours(self) -> None:
        if self.stale or self._request.lost.is_set() or self._released.is_set():
            raise Stale(f"the log of execution {self.execution_id} is left to its next owner")

    def _check_place(self) -> None:
        """The files are still where Relay made them: an adopter would have found the same."""
        for name, stream in self.streams.items():
            try:
                file = self._request.run_dir.open_log(Stream(name))
            except (FileNotFoundError, TamperedFile):
                self._tampered()
                continue
            os.close(file.fd)
            if file.file_id != stream.file_id:
                self._tampered()

    def _digests_of_stored(self) -> Digests:
        return Digests.of(self._store.iter_pieces(self.execution_id, Stream.ALL))

    def _ended(self, sha256: Mapping[str, str], *, cut: bool) -> CaptureEnd:
        infos = {
            name: StreamInfo(stream.assigned, sha256[name], stream.truncated, closed=True)
            for name, stream in self.streams.items()
        }
        infos[Stream.ALL] = StreamInfo(
            sum(info.bytes for info in infos.values()),
            sha256[Stream.ALL],
            any(info.truncated for info in infos.values()),
            closed=True,
        )
        return CaptureEnd(infos, cut, self.stopped_reason)
