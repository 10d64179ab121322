"""The log pump: one thread that moves the output of all live runs of a worker into Postgres.

It sleeps until the kernel says that a file has grown (inotify), that a supervisor has spoken or died (its FIFO), or
that a runner wants something (an eventfd); a slow scan is there only in case an event was lost.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterable

import structlog
from inotify_simple import INotify, flags
from sqlalchemy.exc import SQLAlchemyError

from relay_core.live_logs import LiveLogPublisher
from relay_core.postgres.logs import Append, AppendResult, LogStore
from relay_workers.capture.capture import Capture, CaptureEnd, CaptureRequest

__all__ = ["Capture", "CaptureEnd", "CaptureRequest", "LogPump"]

log = structlog.get_logger(__name__)

SCAN_SECONDS = 1.0
BATCH_BYTES = 8 << 20
"""Most bytes of one transaction."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.1, 5.0


class LogPump:
    """Captures runs; `attach` may be called from any thread, before or after `start`."""

    def __init__(self, store: LogStore, live: LiveLogPublisher) -> None:
        self._store = store
        self._live = live
        self._lock = threading.Lock()
        self._captures: dict[int, Capture] = {}
        """By descriptor of the `alive` FIFO."""
        self._watched: dict[int, Capture] = {}
        """By inotify's watch descriptor."""
        self._pending: dict[Capture, None] = {}
        self._inotify = INotify()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        for fd in (self._inotify.fileno(), self._wake_fd):
            self._epoll.register(fd, select.EPOLLIN)
        self._stopped = False
        self._next_scan = 0.0
        self._thread = threading.Thread(target=self._loop, name="log-pump", daemon=True)

    def start(self) -> None:
        """Begin to pump."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not stored yet is still in the files."""
        self._stopped = True
        self._poke()
        self._thread.join()
        for capture in list(self._captures.values()):
            self.detach(capture)
        self._epoll.close()
        self._inotify.close()
        os.close(self._wake_fd)

    def attach(self, request: CaptureRequest) -> Capture:
        """Begin (or go on) to capture a run from where its stored log ends.

        Raises:
            Tampered: its files are not what Relay made.
        """
        capture = Capture(request, self._store, self._want)
        with self._lock:
            self._captures[capture.alive_fd] = capture
            for stream in capture.streams.values():
                # through the descriptor: no path that a container could change is followed
                watch = self._inotify.add_watch(f"/proc/self/fd/{stream.fd}", flags.MODIFY)
                self._watched[watch] = capture
            self._epoll.register(capture.alive_fd, select.EPOLLIN)
        self._want(capture)
        return capture

    def detach(self, capture: Capture) -> None:
        """Forget a run and close its files; once more does nothing."""
        with self._lock:
            if self._captures.pop(capture.alive_fd, None) is None:
                return
            for watch in [watch for watch, one in self._watched.items() if one is capture]:
                del self._watched[watch]
                with contextlib.suppress(OSError):  # the kernel drops the watch of a removed file by itself
                    self._inotify.rm_watch(watch)
            self._pending.pop(capture, None)
            with contextlib.suppress(OSError):  # a dead supervisor's FIFO is no longer watched
                self._epoll.unregister(capture.alive_fd)
            os.close(capture.alive_fd)
            for stream in capture.streams.values():
                stream.close()

    def _want(self, capture: Capture) -> None:
        with self._lock:
            if capture.alive_fd in self._captures:
                self._pending[capture] = None
        self._poke()

    def _poke(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _loop(self) -> None:
        while not self._stopped:
            try:
                self._listen(0.0 if self._pending else SCAN_SECONDS)
                self._round()
            except Exception:  # a run that breaks must not end the pump of all others
                log.exception("the log pump broke; it goes on")
                time.sleep(FIRST_BACKOFF_SECONDS)

    def _listen(self, timeout: float) -> None:
        """Turn what the kernel says into pending captures."""
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif fd == self._inotify.fileno():
                events = self._inotify.read(timeout=0)
                with self._lock:
                    self._pending.update((self._watched[e.wd], None) for e in events if e.wd in self._watched)
            else:
                self._hear(fd)
        if time.monotonic() >= self._next_scan:
            self._next_scan = time.monotonic() + SCAN_SECONDS
            with self._lock:
                self._pending.update((one, None) for one in self._captures.values() if _has_grown(one))

    def _hear(self, fd: int) -> None:
        with self._lock:
            capture = self._captures.get(fd)
            if capture is None:
                return
            if not capture.read_alive():
                self._epoll.unregister(fd)
            self._pending[capture] = None

    def _round(self) -> None:
        """One batch of all pending captures, one read of each."""
        with self._lock:
            pending, self._pending = list(self._pending), {}
            batch: list[Append] = []
            size = 0
            for capture in pending:
                if size >= BATCH_BYTES:
                    self._pending[capture] = None
                    continue
                appends, more = capture.collect()
                batch += appends
                size += sum(len(append.data) for append in appends)
                if more or appends:
                    self._pending[capture] = None
        if batch:
            self._settle(self._store_patiently(batch), pending)

    def _store_patiently(self, batch: list[Append]) -> AppendResult | None:
        """Through an outage of any length: meanwhile the files keep everything."""
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopped:
            try:
                return self._store.append(batch)
            except SQLAlchemyError as error:
                log.warning("the database is away; the log waits in its files", error=str(error).splitlines()[0])
                time.sleep(backoff)
                backoff = min(LAST_BACKOFF_SECONDS, backoff * 2)
        return None

    def _settle(self, result: AppendResult | None, captures: Iterable[Capture]) -> None:
        if result is None:
            return
        by_id = {capture.execution_id: capture for capture in captures}
        for item in result.stored:
            by_id[item.append.execution_id].stored(item.append)
        for key, size in result.refused.items():
            capture = by_id[key.execution_id]
            stream = capture.streams[key.stream]
            if size is not None and size == stream.stored + len(stream.pending):
                # the commit had been done, only its answer was lost
                capture.stored(Append(key.execution_id, capture.fence, key.stream, stream.stored, stream.pending))
            else:
                capture.lose()
        self._live.publish(result.stored)


def _has_grown(capture: Capture) -> bool:
    return any(os.fstat(stream.fd).st_size != stream.read for stream in capture.streams.values())
