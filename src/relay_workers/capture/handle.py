"""The waiting side of one capture: the runner's thread looks at it and asks for the end of the log."""

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
from relay_core.store.logs.log_store import LogStore, LogStoreUnavailable, StreamInfo
from relay_core.store.outage import SQLAlchemyError
from relay_workers.capture.digests import Digests
from relay_workers.capture.reader import CaptureReader, CaptureState
from relay_workers.capture.request import CaptureEnd, CaptureRequest
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)

SETTLE_LOOK_SECONDS = 1.0
"""Seconds between two looks at whether the worker shuts down, which sets no event of the capture."""
BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)
_GONE = {CaptureState.LOST, CaptureState.RELEASED, CaptureState.SETTLED}

T = TypeVar("T")


class CaptureHandle:
    """A capture, made by `LogPump.attach`, for the one thread that carries out the execution.

    Args:
        reader: reads the files in the pump's thread.
        request: the capture's.
        store: where the log is stored.
        call: runs a function soon in the pump's thread, and looks at the reader after that.
    """

    def __init__(
        self,
        reader: CaptureReader,
        request: CaptureRequest,
        store: LogStore,
        call: Callable[[CaptureReader, Callable[[], None]], None],
    ) -> None:
        self.reader = reader
        self._request = request
        self._store = store
        self._call = partial(call, reader)
        signals = reader.supervisor
        self.started: threading.Event = signals.started
        self.exited: threading.Event = signals.exited
        """The exit of the step is recorded."""
        self.supervisor_dead: threading.Event = signals.dead
        self.heard: threading.Event = signals.heard
        """Set after the first read of the supervisor's FIFO; before that, the absence of an exit proves nothing."""

    @property
    def execution_id(self) -> UUID:
        """The captured execution."""
        return self.reader.execution_id

    @property
    def stale(self) -> bool:
        """The log is another owner's."""
        return self.reader.state is CaptureState.LOST

    @property
    def stopped_reason(self) -> Reason | None:
        """Why the log cannot be stored any further; None where it can."""
        return self.reader.stopped_reason

    @property
    def last_output(self) -> float:
        """Time at which the log last grew, on the monotonic clock in seconds; before that, the time of the attach."""
        with suppress(OSError):  # the files were closed meanwhile
            if self.reader.has_changed():
                return time.monotonic()  # grown and not read yet, as Postgres is away
        return max(stream.last_growth for stream in self.reader.streams.values())

    @property
    def seconds_exited(self) -> float:
        """Seconds since the exit was recorded; 0 before."""
        exited_at = self.reader.supervisor.exited_at
        return 0.0 if exited_at is None else time.monotonic() - exited_at

    def learn(self, secrets: Sequence[bytes]) -> None:
        """Mask these values from now on, in all bytes that are not given out yet; returns at once."""
        self._call(partial(self.reader.learn, secrets))

    def finish(self, tail_seconds: float) -> CaptureEnd:
        """Read the log to its end, and return its sizes and digests once Postgres has it on disk.

        The log ends when the supervisor is dead, as both copiers have reached their end by then. Where a background
        process holds it open, it ends with the sizes found ``tail_seconds`` after the exit, or after this call where no
        exit is known.

        Raises:
            Stale: another worker owns the execution, or this worker shuts down.
        """
        exited_at = self.reader.supervisor.exited_at
        began = time.monotonic() if exited_at is None else exited_at
        cut = not self.supervisor_dead.wait(max(0.0, began + tail_seconds - time.monotonic()))
        self._call(self.reader.end_at_present_size)
        self._await_stored()
        self._check_place()
        self._hand_out()
        digests = self.reader.digests or self._until_available(self._digests_of_stored)
        return self._end(digests.hexdigests(), cut=cut)

    def await_settled(self, stopping: threading.Event) -> None:
        """After a `LogPump.detach`: return when no more bytes will be stored, so that the stored log can be hashed.

        Returns earlier when another worker owns the execution or ``stopping`` is set: then no end is written here.
        """
        wake = self._request.wake
        while True:
            wake.clear()
            gone = self.stale or self._request.lost.is_set() or stopping.is_set()
            if gone or self.reader.state is CaptureState.SETTLED:
                return
            wake.wait(SETTLE_LOOK_SECONDS)

    def _await_stored(self) -> None:
        """Wait until Postgres has all bytes on disk; what a crash of it lost is stored again."""
        while True:
            self._await_drained()
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
        """Stop the capture where a file is not in its place any more: an adopter would not have found it."""
        for name, stream in self.reader.streams.items():
            try:
                file = self._request.run_dir.open_log(Stream(name))
            except (FileNotFoundError, TamperedFile):
                self.reader.tampered()
                continue
            os.close(file.fd)
            if file.file_id != stream.file_id:
                self.reader.tampered()

    def _hand_out(self) -> None:
        """Read nothing more, as the files may be removed from now on."""
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
