"""The log pump: one thread that moves the output of all live runs of a worker towards Postgres.

It sleeps until the kernel says that a file has grown (inotify), that a supervisor has spoken or died (its FIFO), or
that somebody wants something; a slow scan is there only in case an event was lost. What it reads goes to the writer's
thread, at most two batches at a time: so memory is bounded, and reading goes on while Postgres stores.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.logs.append import AppendResult
from relay_core.domain.vocabulary import Reason
from relay_core.live_log.port import LiveLogPublisher
from relay_core.store.logs.log_store import Append, LogStore
from relay_workers.capture.capture import Capture
from relay_workers.capture.file_watcher import FileWatcher, WatchEvents
from relay_workers.capture.request import Backlog, CaptureEnd, CaptureRequest, Collected
from relay_workers.capture.writer import ChunkWriter

__all__ = ["Backlog", "Capture", "CaptureEnd", "CaptureRequest", "LogPump"]

log = structlog.get_logger(__name__)

SCAN_SECONDS = 1.0
BATCH_BYTES = 4 << 20
"""No turn is added to a batch beyond this."""
BATCHES_ON_THEIR_WAY = 2
FAULTS_OF_A_CAPTURE = 6
"""So often reading a log may break, once a second; its process is ended after that, as its output cannot be kept."""
SMALL_BATCH_BYTES = 256 << 10
PAUSE_SECONDS = 0.01
"""After a small batch, so that many small writes become one transaction."""


class LogPump:
    """Captures runs; `attach` and `detach` may be called from any thread, `attach` also before `start`."""

    def __init__(self, store: LogStore, live: LiveLogPublisher) -> None:
        self._store = store
        self._writer = ChunkWriter(store, live, self._stored)
        self._watcher = FileWatcher()
        self._calls: deque[Callable[[], None]] = deque()
        self._captures: dict[UUID, Capture] = {}
        self._by_fifo: dict[int, Capture] = {}
        self._by_watch: dict[int, Capture] = {}
        self._ready: dict[Capture, None] = {}
        """Captures to look at, in turn."""
        self._later: dict[Capture, float] = {}
        """When to look at captures again that hold back a line."""
        self._on_their_way: deque[set[Capture]] = deque()
        """By batch, in their order: whose bytes are in it."""
        self._next_scan = 0.0
        self._next_round = 0.0
        self._went_round = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="log-pump", daemon=True)

    def start(self) -> None:
        """Begin to pump."""
        self._writer.start()
        self._thread.start()

    def stop(self) -> None:
        """End the threads; what was not stored yet is still in the files, and a `finish` that waits raises `Stale`.

        Once more does nothing.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watcher.call()
        if self._thread.is_alive():
            self._thread.join()
        self._writer.stop()
        self._run_calls()
        for capture in list(self._captures.values()):
            self._remove(capture)
        self._watcher.close()

    def attach(self, request: CaptureRequest) -> Capture:
        """Begin (or go on) to capture a run from where its stored log ends.

        Raises:
            TamperedFile: its files are not what Relay made.
            RelayError: the pump has been stopped.
        """
        if self._stopping.is_set():
            raise RelayError("this worker is going away and captures no more runs")
        capture = Capture(request, self._store, self._call_for)
        self._call_for(capture, lambda: self._add(capture))
        return capture

    def detach(self, capture: Capture) -> None:
        """Forget a run and close its files; returns when nothing more of it will be stored. Once more does nothing.

        An outage of Postgres is waited out, unless the run is lost or the worker goes away.
        """
        if not self._stopping.is_set():
            self._call(lambda: self._remove(capture))
            capture.await_settled(self._stopping)

    @property
    def age_seconds(self) -> float:
        """Since its loop last went round, which it does every `SCAN_SECONDS`; infinite where a thread of it is dead."""
        pumps = self._thread.is_alive() and self._writer.alive
        return time.monotonic() - self._went_round if pumps else math.inf

    @property
    def is_dead(self) -> bool:
        """Whether a thread of it has ended unasked: nothing is captured any more, and no run can end."""
        begun = self._thread.ident is not None
        return begun and not self._stopping.is_set() and not (self._thread.is_alive() and self._writer.alive)

    @property
    def store_wait_seconds(self) -> float:
        """Since the batch that is being stored was taken up; 0 where none is."""
        return self._writer.wait_seconds

    def backlogs(self) -> dict[UUID, Backlog]:
        """Of each run: what is not stored yet, and what its raw files hold."""
        return {capture.execution_id: capture.backlog() for capture in list(self._captures.values())}

    def _call(self, what: Callable[[], None]) -> None:
        self._calls.append(what)
        self._watcher.call()

    def _call_for(self, capture: Capture, what: Callable[[], None]) -> None:
        def call() -> None:
            what()
            if self._captures.get(capture.execution_id) is capture:
                self._ready[capture] = None
                self._next_round = 0.0  # somebody waits for it

        self._call(call)

    def _stored(self, result: AppendResult) -> None:
        """In the writer's thread."""
        self._call(lambda: self._settle(result))

    # the pump's thread

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take_in(self._watcher.listen(self._patience()))
                self._run_calls()
                self._scan()
                self._round()
                self._went_round = time.monotonic()
            except Exception:  # a thread's top: a run that breaks must not end the pump of all others
                log.exception("the log pump broke; it goes on")
                self._stopping.wait(PAUSE_SECONDS * 10)

    def _patience(self) -> float:
        due = min([self._next_scan, *self._later.values()])
        if self._ready and len(self._on_their_way) < BATCHES_ON_THEIR_WAY:
            due = min(due, self._next_round)
        return max(0.0, due - time.monotonic())

    def _take_in(self, heard: WatchEvents) -> None:
        for fd, hung_up in heard.spoken.items():
            if capture := self._by_fifo.get(fd):
                self._hear(capture, hung_up=hung_up)
        for watch in heard.moved:
            if capture := self._by_watch.get(watch):
                capture.moved()
        for watch in heard.changed | heard.moved:
            if capture := self._by_watch.get(watch):
                self._ready[capture] = None

    def _hear(self, capture: Capture, *, hung_up: bool) -> None:
        capture.hear(hung_up=hung_up)
        if capture.supervisor_dead.is_set():
            self._watcher.forget_fifo(capture.alive_fd)

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _scan(self) -> None:
        now = time.monotonic()
        for capture in [one for one, at in self._later.items() if now >= at]:
            del self._later[capture]
            self._ready[capture] = None
        if now >= self._next_scan:
            self._next_scan = now + SCAN_SECONDS
            self._ready.update((one, None) for one in self._captures.values() if one.has_changed())

    def _round(self) -> None:
        """One batch: a turn for each that is ready, and again for those with more, up to a batch's size."""
        if len(self._on_their_way) >= BATCHES_ON_THEIR_WAY or time.monotonic() < self._next_round:
            return
        batch: list[Append] = []
        size = 0
        aboard: set[Capture] = set()
        while self._ready and size < BATCH_BYTES:
            capture = next(iter(self._ready))
            del self._ready[capture]
            collected = self._collect(capture)
            if collected.appends and capture not in aboard:
                aboard.add(capture)
                capture.sent()
            batch += collected.appends
            size += sum(len(append.data) for append in collected.appends)
            if collected.more:
                self._ready[capture] = None
            if collected.again_at is not None:
                self._later[capture] = collected.again_at
        if batch:
            self._on_their_way.append(aboard)
            self._writer.put(batch)
            self._next_round = time.monotonic() + (PAUSE_SECONDS if size < SMALL_BATCH_BYTES else 0.0)

    def _collect(self, capture: Capture) -> Collected:
        """A fault at one capture (no memory, say) must lose neither its bytes nor the batch of all others."""
        before = capture.assigned()
        try:
            return capture.collect()
        except Exception:
            log.exception("a log could not be read; it is read again", execution_id=str(capture.execution_id))
            capture.read_again(before)
            capture.faults += 1
            if capture.faults == FAULTS_OF_A_CAPTURE:
                capture.stop(Reason.INTERNAL_ERROR)
            return Collected([], more=False)  # the scan comes to it again

    def _settle(self, result: AppendResult) -> None:
        stored = {one.append.execution_id for one in result.stored}
        for capture in self._on_their_way.popleft():
            refused = result.refused.get(capture.execution_id)
            try:
                capture.settle(refused, broken=refused is None and capture.execution_id not in stored)
            except Exception:  # the others of the batch must be settled all the same
                log.exception("a capture broke", execution_id=str(capture.execution_id))
                capture.stop(Reason.INTERNAL_ERROR)
            if self._captures.get(capture.execution_id) is capture:
                self._ready[capture] = None

    def _add(self, capture: Capture) -> None:
        self._captures[capture.execution_id] = capture
        self._by_fifo[capture.alive_fd] = capture
        for stream in capture.streams.values():
            watch = self._watcher.watch_file(stream.fd)
            if watch is not None:
                self._by_watch[watch] = capture
        self._watcher.hear_fifo(capture.alive_fd)
        self._hear(capture, hung_up=False)

    def _remove(self, capture: Capture) -> None:
        if self._captures.get(capture.execution_id) is not capture:
            return
        del self._captures[capture.execution_id]
        del self._by_fifo[capture.alive_fd]
        self._ready.pop(capture, None)
        self._later.pop(capture, None)
        for watch in [watch for watch, one in self._by_watch.items() if one is capture]:
            del self._by_watch[watch]
            self._watcher.forget_file(watch)
        self._watcher.forget_fifo(capture.alive_fd)
        capture.release()
