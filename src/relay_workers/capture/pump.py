"""The log pump: one thread that moves the output of a worker's running executions to Postgres.

It sleeps until the kernel reports that a log has grown, that a record was written or closed (inotify), or until another
thread wakes it. A scan every second finds changes whose event was lost. The bytes that it reads go to the writer's
thread, at most two batches at a time. So memory use is bounded, and reading continues while Postgres stores.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.logs.append import AppendResult
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.logs.log_store import Append, LogStore
from relay_core.store.logs.stream_info import StreamInfo
from relay_workers.capture.file_watcher import FileWatcher, WatchEvents
from relay_workers.capture.handle import HUNG_SECONDS, CaptureHandle
from relay_workers.capture.reader import CaptureReader
from relay_workers.capture.request import Backlog, CaptureEnd, CaptureRequest, CollectedBytes
from relay_workers.capture.writer import ChunkWriter

__all__ = ["Backlog", "CaptureEnd", "CaptureHandle", "CaptureRequest", "LogPump"]

log = structlog.get_logger(__name__)

SCAN_SECONDS = 1.0
"""Seconds between two scans of all files."""
BATCH_BYTES = 4 << 20
"""The size in bytes at which a batch is complete and handed to the writer; the last read may exceed it."""
BATCHES_UNDER_WAY = 2
"""The maximum number of batches that the writer holds at a time."""
FAULTS_OF_A_CAPTURE = 6
"""The number of unexpected errors (one per second) after which a capture stops and its process is killed."""
SMALL_BATCH_BYTES = 256 << 10
"""A batch smaller than this, in bytes, is followed by a pause."""
EMPTY = {stream.value: StreamInfo() for stream in Stream}
"""The stored sizes of a log of which nothing was stored."""
PAUSE_SECONDS = 0.01
"""The pause in seconds after a small batch, so that many small writes are stored in one transaction."""
REST_SECONDS = 0.05
"""The time in seconds for which an execution rests after few of its bytes were collected: nothing of it is collected.

So a process that writes a line every few milliseconds is stored at most twenty times a second, instead of a hundred
times. The first line after a longer silence, and the end of a log, are collected at once. All rests end at multiples of
this time, so that one transaction stores what many such processes wrote.
"""


class LogPump:
    """Captures the output of executions. Any thread may call `attach` and `detach`; `attach` also before `start`.

    Args:
        store: stores the logs.
        live: publishes bytes to live readers after they were committed.
    """

    def __init__(self, store: LogStore, live: LiveLogPublisher) -> None:
        self._store = store
        self._writer = ChunkWriter(store, live, self._stored)
        self._watcher = FileWatcher()
        self._calls: deque[Callable[[], None]] = deque()
        self._readers: dict[UUID, CaptureReader] = {}
        self._by_record: dict[int, CaptureReader] = {}
        self._by_watch: dict[int, CaptureReader] = {}
        self._ready: dict[CaptureReader, None] = {}
        """The readers that may have bytes to collect, in order; a dict serves as an ordered set."""
        self._later: dict[CaptureReader, float] = {}
        """The readers that rest or hold back an incomplete line, with the monotonic time at which to collect from
        them again."""
        self._under_way: deque[set[CaptureReader]] = deque()
        """For each batch that the writer holds, oldest first: the readers whose bytes it contains."""
        self._next_scan = 0.0
        self._next_round = 0.0
        self._went_round = time.monotonic()
        self._disk_answered_at = 0.0
        """The monotonic time at which the disk last answered after more than `HUNG_SECONDS`; 0 if it never took so
        long."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="log-pump", daemon=True)

    def start(self) -> None:
        """Start the pump's thread and the writer's thread."""
        self._writer.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop the threads; a second call does nothing.

        Bytes that are not stored yet stay in the files. A waiting `CaptureHandle.finish` raises `Stale`.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watcher.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._writer.stop()
        self._run_calls()
        for reader in list(self._readers.values()):
            self._remove(reader)
        self._watcher.close()

    def attach(self, request: CaptureRequest) -> CaptureHandle:
        """Start capturing an execution's output, from the point where its stored log ends.

        Raises:
            FileNotFoundError, TamperedFile: its files are gone, or are not as Relay made them.
            RelayError: the pump was stopped.
        """
        if self._stopping.is_set():
            raise RelayError("this worker shuts down and captures no more executions")
        reader = CaptureReader(request, EMPTY if request.first_owner else self._store.sizes(request.execution_id))
        self._call_for(reader, lambda: self._add(reader))
        return CaptureHandle(reader, request, self._store, self._call_for, lambda: self._disk_answered_at)

    def detach(self, capture: CaptureHandle) -> None:
        """Close the files of a capture; return when no more of its bytes will be stored. A second call does nothing.

        While Postgres is away this waits, unless another worker owns the execution or this worker shuts down.
        """
        if not self._stopping.is_set():
            self._call(lambda: self._remove(capture.reader))
            capture.await_settled(self._stopping)

    @property
    def age_seconds(self) -> float:
        """Seconds since the last pass of the pump's loop, usually at most `SCAN_SECONDS`; infinite if a thread died."""
        pumps = self._thread.is_alive() and self._writer.alive
        return time.monotonic() - self._went_round if pumps else math.inf

    @property
    def is_dead(self) -> bool:
        """Whether a thread of the pump died of an error. Then no output is captured and no execution can finish."""
        begun = self._thread.ident is not None
        return begun and not self._stopping.is_set() and not (self._thread.is_alive() and self._writer.alive)

    @property
    def store_wait_seconds(self) -> float:
        """Seconds since the writer began to store its current batch; 0 if it has none."""
        return self._writer.wait_seconds

    def backlogs(self) -> dict[UUID, Backlog]:
        """Return each execution's number of unstored bytes and the size of its raw files."""
        return {reader.execution_id: reader.backlog() for reader in list(self._readers.values())}

    def _call(self, what: Callable[[], None]) -> None:
        self._calls.append(what)
        self._watcher.wake()

    def _call_for(self, reader: CaptureReader, what: Callable[[], None]) -> None:
        def call() -> None:
            what()
            if self._readers.get(reader.execution_id) is reader:
                self._ready[reader] = None
                self._next_round = 0.0  # another thread waits for this reader, so skip the pause

        self._call(call)

    def _stored(self, result: AppendResult) -> None:
        """Receive the result of a batch; the writer's thread calls it after each batch."""
        self._call(lambda: self._settle(result))

    # The methods below run in the pump's thread.

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                events = self._watcher.wait(self._seconds_to_wait())
                with self._disk_timed():
                    self._take_in(events)
                self._run_calls()
                with self._disk_timed():
                    self._scan()
                    self._round()
                self._went_round = time.monotonic()
            except Exception:  # top of the thread: an error at one execution must not stop the capture of all others
                log.exception("the log pump broke; it goes on")
                self._stopping.wait(PAUSE_SECONDS * 10)

    def _seconds_to_wait(self) -> float:
        due = min([self._next_scan, *self._later.values()])
        if self._ready and len(self._under_way) < BATCHES_UNDER_WAY:
            due = min(due, self._next_round)
        return max(0.0, due - time.monotonic())

    def _take_in(self, events: WatchEvents) -> None:
        for watch in events.changed:
            if reader := self._by_record.get(watch):
                reader.read_signals()
        for watch in events.moved:
            if reader := self._by_watch.get(watch):
                reader.moved()
        for watch in events.changed | events.moved:
            if reader := self._by_watch.get(watch):
                reader.grown_at = time.monotonic()
                self._ready[reader] = None

    def _run_calls(self) -> None:
        while self._calls:
            with self._disk_timed():
                self._calls.popleft()()

    @contextmanager
    def _disk_timed(self) -> Iterator[None]:
        """Note when the disk answered, if the requests of this context took so long that it must have hung."""
        asked = time.monotonic()
        yield
        answered = time.monotonic()
        if answered - asked > HUNG_SECONDS:
            self._disk_answered_at = answered

    def _scan(self) -> None:
        now = time.monotonic()
        for reader in [reader for reader, at in self._later.items() if now >= at]:
            del self._later[reader]
            self._ready[reader] = None
        if now >= self._next_scan:
            self._next_scan = now + SCAN_SECONDS
            for reader in self._readers.values():
                reader.read_signals()
                if reader.has_changed():
                    self._ready[reader] = None

    def _round(self) -> None:
        """Make one batch: collect from each ready reader in turn, again from those with more, up to `BATCH_BYTES`."""
        if len(self._under_way) >= BATCHES_UNDER_WAY or time.monotonic() < self._next_round:
            return
        batch: list[Append] = []
        size = 0
        in_batch: set[CaptureReader] = set()
        while self._ready and size < BATCH_BYTES:
            reader = next(iter(self._ready))
            del self._ready[reader]
            if reader.rests:
                self._later[reader] = reader.rests_until
                continue
            collected = self._collect(reader)
            if collected.appends and reader not in in_batch:
                in_batch.add(reader)
                reader.sent()
            collected_bytes = sum(len(append.data) for append in collected.appends)
            if 0 < collected_bytes < SMALL_BATCH_BYTES:
                now = time.monotonic()
                reader.rests_until = now - now % REST_SECONDS + REST_SECONDS
            batch += collected.appends
            size += collected_bytes
            if collected.more:
                self._ready[reader] = None
            if collected.again_at is not None:
                self._later[reader] = collected.again_at
        if batch:
            self._under_way.append(in_batch)
            self._writer.put(batch)
            self._next_round = time.monotonic() + (PAUSE_SECONDS if size < SMALL_BATCH_BYTES else 0.0)

    def _collect(self, reader: CaptureReader) -> CollectedBytes:
        """Collect from one reader. An error (such as no memory) loses neither its bytes nor the batch of the others."""
        before = reader.assigned()
        try:
            return reader.collect()
        except Exception:
            log.exception("a log could not be read; it is read again", execution_id=str(reader.execution_id))
            reader.read_again(before)
            reader.faults += 1
            if reader.faults == FAULTS_OF_A_CAPTURE:
                reader.stop(Reason.INTERNAL_ERROR)
            return CollectedBytes([], more=False)  # the scan makes the reader ready again

    def _settle(self, result: AppendResult) -> None:
        stored = {stored.append.execution_id for stored in result.stored}
        for reader in self._under_way.popleft():
            refused = result.refused.get(reader.execution_id)
            try:
                reader.settle(refused, broken=refused is None and reader.execution_id not in stored)
            except Exception:  # the other readers of the batch must still be settled
                log.exception("a capture broke", execution_id=str(reader.execution_id))
                reader.stop(Reason.INTERNAL_ERROR)
            if self._readers.get(reader.execution_id) is reader:
                self._ready[reader] = None

    def _add(self, reader: CaptureReader) -> None:
        self._readers[reader.execution_id] = reader
        record = self._watcher.watch_file(reader.signals.fd)
        if record is not None:
            self._by_record[record] = reader
        for stream in reader.streams.values():
            watch = self._watcher.watch_file(stream.fd)
            if watch is not None:
                self._by_watch[watch] = reader
        reader.read_signals()

    def _remove(self, reader: CaptureReader) -> None:
        if self._readers.get(reader.execution_id) is not reader:
            return
        del self._readers[reader.execution_id]
        self._ready.pop(reader, None)
        self._later.pop(reader, None)
        for watches in (self._by_watch, self._by_record):
            for watch in [watch for watch, watching in watches.items() if watching is reader]:
                del watches[watch]
                self._watcher.forget_file(watch)
        reader.release()
