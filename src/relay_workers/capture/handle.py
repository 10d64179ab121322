"""The runner's view of one capture: the runner's thread reads the capture's state and waits for the end of the log."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.retry import Backoff, until_available
from relay_core.store.logs.log_store import LogStore, LogStoreUnavailable
from relay_core.store.logs.stream_info import StreamInfo
from relay_core.store.outage import SQLAlchemyError
from relay_workers.capture.digests import Digests
from relay_workers.capture.reader import CaptureReader, CaptureState
from relay_workers.capture.request import CaptureEnd, CaptureRequest
from relay_workers.containers.pid1.answers import ExecutionStatus
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)

SETTLE_LOOK_SECONDS = 1.0
"""Seconds between two checks whether the worker shuts down, because the shutdown does not set the capture's `wake`
event."""
UNSEEN_SECONDS = 5.0
"""Seconds without a look of the pump at the files after which nothing is known about them; it looks every second."""
HUNG_SECONDS = 2.0
"""Seconds after which a request to the disk counts as one that the disk held up."""
BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)
_GONE = {CaptureState.LOST, CaptureState.RELEASED, CaptureState.SETTLED}

T = TypeVar("T")


class CaptureHandle:
    """One capture, as seen by the thread that carries out the execution. `LogPump.attach` creates it.

    Args:
        reader: reads the files in the pump's thread.
        request: the request of the capture.
        store: stores the log.
        call: runs a function soon in the pump's thread, which then also collects from the reader.
        answered_at: returns the monotonic time in seconds at which the disk last answered after more than
            `HUNG_SECONDS`.

    Attributes:
        started: set once the step has started.
        over: set once nothing more is written to the log: no process of the step is left, or its container has ended.
    """

    def __init__(
        self,
        reader: CaptureReader,
        request: CaptureRequest,
        store: LogStore,
        call: Callable[[CaptureReader, Callable[[], None]], None],
        answered_at: Callable[[], float],
    ) -> None:
        self.reader = reader
        self._request = request
        self._store = store
        self._call = partial(call, reader)
        self._answered_at = answered_at
        signals = reader.signals
        self.started: threading.Event = signals.started
        self.exited: threading.Event = signals.exited
        """Set once the step's exit is recorded."""
        self.over: threading.Event = signals.dead
        self.heard: threading.Event = signals.heard
        """Set after the first read of the record; before that, an unset `exited` proves nothing."""

    @property
    def execution_id(self) -> UUID:
        """The id of the captured execution."""
        return self.reader.execution_id

    @property
    def stale(self) -> bool:
        """Whether another worker owns the log now."""
        return self.reader.state is CaptureState.LOST

    @property
    def stopped_reason(self) -> Reason | None:
        """The reason why no more of the log can be stored; None if it can."""
        return self.reader.stopped_reason

    @property
    def last_output(self) -> float:
        """The monotonic time in seconds at which the log last grew; before any output, the time of the attach.

        This counts output that is not read yet, because Postgres is away. It asks for no file: the disk may hang, and
        kills must go on. If the pump has not looked for `UNSEEN_SECONDS`, it is unknown whether there was output, and
        the answer is now.
        """
        now = time.monotonic()
        if self.reader.unread or now - self.reader.looked_at > UNSEEN_SECONDS:
            return now
        return max(self.reader.grown_at, *(stream.last_growth for stream in self.reader.streams.values()))

    @property
    def seconds_exited(self) -> float:
        """Seconds since the step's exit was recorded; 0 if it has not exited."""
        exited_at = self.reader.signals.exited_at
        return 0.0 if exited_at is None else time.monotonic() - exited_at

    def set_secrets(self, secrets: Sequence[bytes]) -> None:
        """Mask these values from now on, in all bytes that were not sent to the store yet; return at once."""
        self._call(partial(self.reader.set_secrets, secrets))

    def has_started(self) -> None:
        """Note that the step has started; its record says so a moment later. Return at once."""
        self.started.set()
        self._call(self.reader.has_started)

    def hear(self, status: ExecutionStatus) -> None:
        """Note what relay-pid1 told about the end of the step; any thread may call this."""
        self.reader.signals.hear(status)
        self._request.wake.set()

    @property
    def told(self) -> ExecutionStatus | None:
        """The state of the step that relay-pid1 told at its end; None before that."""
        return self.reader.signals.told

    def await_over(self, tail_seconds: float) -> bool:
        """Wait until nothing more is written to the log, at most ``tail_seconds`` after the step's exit.

        If no exit is known, the time counts from this call. Return whether the log is over. A disk that does not let
        the log be read or written holds this up until it answers; then relay-pid1 has ``tail_seconds`` to write the
        rest, even if the disk answered before the time was over.

        Raises:
            Stale: another worker owns the execution, or this worker shuts down.
        """
        exited_at = self.reader.signals.exited_at
        began = time.monotonic() if exited_at is None else exited_at
        while not self.over.wait(max(0.0, began + tail_seconds - time.monotonic())):
            asked = time.monotonic()
            self._await_look()
            if time.monotonic() - asked > HUNG_SECONDS:
                began = time.monotonic()
            elif self._answered_at() > began:
                began = self._answered_at()
            else:
                return False
        return True

    def finish(self, tail_seconds: float) -> CaptureEnd:
        """Read the log to its end; return its sizes and digests once Postgres has it on disk.

        If the log is not over in time (`await_over`), it is cut off at its present size.

        Raises:
            Stale: another worker owns the execution, or this worker shuts down.
        """
        cut = not self.await_over(tail_seconds)
        self._call(self.reader.end_at_present_size)
        self._await_stored()
        self._check_place()
        self._hand_out()
        digests = self.reader.digests or self._until_available(self._digests_of_stored)
        return self._end(digests.hexdigests(), cut=cut)

    def await_settled(self, stopping: threading.Event) -> None:
        """After `LogPump.detach`, wait until no more bytes will be stored, so that the stored log can be hashed.

        Return earlier if another worker owns the execution or ``stopping`` is set: this worker then does not write the
        end.
        """
        wake = self._request.wake
        while True:
            wake.clear()
            gone = self.stale or self._request.lost.is_set() or stopping.is_set()
            if gone or self.reader.state is CaptureState.SETTLED:
                return
            wake.wait(SETTLE_LOOK_SECONDS)

    def _await_look(self) -> None:
        """Wait until the pump has asked the disk for the files."""
        looked = threading.Event()

        def look() -> None:
            with suppress(OSError):  # the files were closed
                self.reader.has_changed()
            looked.set()

        self._call(look)
        while not looked.wait(SETTLE_LOOK_SECONDS):
            self._check_ours()

    def _await_stored(self) -> None:
        """Wait until Postgres has all bytes on disk; store again the bytes that a crash of Postgres lost."""
        while True:
            self._await_drained()
            if not any(stream.assigned for stream in self.reader.streams.values()):
                return  # nothing was stored that a crash could lose; the end of the execution checks the sizes
            stored = self._until_available(lambda: self._store.confirm(self.execution_id, self._request.fence))
            if all(stored[name] == stream.assigned for name, stream in self.reader.streams.items()):
                return
            self.reader.reopen()
            self._call(partial(self.reader.go_back, stored))

    def _await_drained(self) -> None:
        wake = self._request.wake
        while True:
            wake.clear()
            self._check_ours()
            if self.reader.state is CaptureState.DRAINED:
                return
            wake.wait()

    def _until_available(self, query: Callable[[], T]) -> T:
        def is_retryable(error: Exception) -> bool:
            return isinstance(error, LogStoreUnavailable | SQLAlchemyError)

        def report(error: Exception, pause: float) -> None:
            log.warning("the end of a log waits for Postgres", error=str(error), retry_seconds=pause)

        def wait(pause: float) -> None:
            self._request.wake.clear()
            self._check_ours()
            self._request.wake.wait(pause)
            self._check_ours()

        return until_available(query, BACKOFF, is_retryable=is_retryable, report=report, wait=wait)

    def _check_ours(self) -> None:
        if self.reader.state in _GONE or self._request.lost.is_set():
            raise Stale(f"the log of execution {self.execution_id} is left to its next owner")

    def _check_place(self) -> None:
        """Stop the capture if a file is no longer at its path: a worker that takes over would not have found it."""
        for name, stream in self.reader.streams.items():
            try:
                file = self._request.files.open_log(Stream(name))
            except (FileNotFoundError, TamperedFile):
                self.reader.tampered()
                continue
            os.close(file.fd)
            if file.file_id != stream.file_id:
                self.reader.tampered()

    def _hand_out(self) -> None:
        """Read nothing more, because the files may be removed from now on."""
        if self.reader.state is CaptureState.DRAINED:
            self.reader.state = CaptureState.DONE

    def _digests_of_stored(self) -> Digests:
        return Digests.of(self._store.iter_pieces(self.execution_id, Stream.ALL))

    def _end(self, sha256: Mapping[str, str], *, cut: bool) -> CaptureEnd:
        streams = self.reader.streams
        infos = {
            name: StreamInfo(stream.assigned, sha256[name], stream.truncated, closed=True)
            for name, stream in streams.items()
        }
        infos[Stream.ALL] = StreamInfo(
            sum(info.bytes for info in infos.values()),
            sha256[Stream.ALL],
            any(info.truncated for info in infos.values()),
            closed=True,
        )
        return CaptureEnd(infos, cut, self.stopped_reason)
