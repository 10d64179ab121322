"""The log of an execution without a process in a container (`clone`): the worker itself writes it."""

import hashlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog

from relay_core.domain.errors import Stale
from relay_core.domain.logs.append import AppendResult
from relay_core.domain.vocabulary import Stream
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.retry import Backoff, until_available
from relay_core.store.logs.log_store import Append, LogStore, LogStoreUnavailable, StreamEnd
from relay_workers.ownership.live_executions import OwnershipLost

BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)
LOOK_SECONDS = 0.5
"""Seconds between two checks that this worker still owns the execution, while a caller waits for Postgres."""
APPEND_BYTES = 1 << 20
"""Largest number of bytes stored in one transaction."""
WAITING_BYTES = 4 << 20
"""Largest number of bytes that are held in memory until Postgres stores them; above it, `write` blocks."""

log = structlog.get_logger(__name__)


class StepLog:
    """Appends to the stdout stream of an execution, after the bytes that an earlier owner stored. A context manager.

    A separate thread stores the bytes, because a git fetch has a deadline that an outage of Postgres must not use up.
    Leaving the context stores all that was written, unless the execution was left to another worker.

    Args:
        store: stores the log.
        live: publishes bytes to clients after they were committed.
        execution_id: the execution whose log this is.
        fence: the fence of this worker's claim.
        log_bytes: largest size of the stored log; later bytes are dropped, and `ends` reports the log as truncated.
        lost: set when another worker owns the execution or this worker shuts down; `write` and `ends` then raise
            `OwnershipLost`.
    """

    def __init__(
        self,
        store: LogStore,
        live: LiveLogPublisher,
        execution_id: UUID,
        fence: int,
        *,
        log_bytes: int,
        lost: threading.Event,
    ) -> None:
        self._store = store
        self._live = live
        self._execution_id = execution_id
        self._fence = fence
        self._log_bytes = log_bytes
        self._lost = lost
        self._changed = threading.Condition()
        self._waiting = bytearray()
        self._stored = store.sizes(execution_id)[Stream.STDOUT].bytes
        self._written = self._stored
        self._truncated = False
        self._refused = False
        """Whether Postgres refused bytes because another worker owns the log."""
        self._broken: Exception | None = None
        self._over = False
        self._sha256 = hashlib.sha256()
        for piece in store.iter_range(execution_id, Stream.STDOUT, 0, self._stored):
            self._sha256.update(piece)
        self._thread = threading.Thread(target=self._work, name=f"step-log-{execution_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return this log."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Store the rest, unless the execution was left to another worker; then stop the thread."""
        try:
            if not isinstance(error, OwnershipLost | Stale):
                self._flush()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def write(self, data: bytes) -> None:
        """Append ``data``; the thread stores it soon. Blocks only while more than `WAITING_BYTES` are not stored yet.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
        """
        with self._changed:
            self._wait_until(lambda: len(self._waiting) < WAITING_BYTES)
            taken = data[: max(0, self._log_bytes - self._written)]
            self._truncated |= len(taken) < len(data)
            self._waiting += taken
            self._written += len(taken)
            self._sha256.update(taken)
            self._changed.notify_all()

    def say(self, line: str) -> None:
        """Append one line with a message of Relay's own."""
        self.write(f"relay: {line}\n".encode())

    def ends(self) -> dict[str, StreamEnd]:
        """Wait until all bytes are stored, however long Postgres is away; return size and digest of each stream.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
        """
        self._flush()
        mine = StreamEnd(self._written, self._sha256.hexdigest(), self._truncated)
        nothing = StreamEnd(0, hashlib.sha256().hexdigest(), truncated=False)
        return {Stream.STDOUT: mine, Stream.STDERR: nothing, Stream.ALL: mine}

    def _flush(self) -> None:
        with self._changed:
            self._wait_until(lambda: self._stored == self._written)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until ``done()`` is true. The caller must hold `_changed`."""
        while True:
            if self._refused or self._lost.is_set():
                raise OwnershipLost("the log is another owner's")
            if self._broken is not None:
                raise self._broken
            if done():
                return
            self._changed.wait(LOOK_SECONDS)

    # The methods below run in the thread that stores the bytes.

    def _work(self) -> None:
        while (data := self._next()) is not None:
            append = Append(self._execution_id, self._fence, Stream.STDOUT, self._stored, data)
            try:
                result = self._append(append)
            except Exception as error:  # noqa: BLE001 - a thread's top: the next `write` or `ends` raises it
                with self._changed:
                    self._broken = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._refused = result is None
                if result is not None:
                    self._stored += len(data)
                    del self._waiting[: len(data)]
                self._changed.notify_all()
            if result is None:
                return
            self._live.publish(result.stored)

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            return None if self._over else bytes(self._waiting[:APPEND_BYTES])

    def _append(self, append: Append) -> AppendResult | None:
        """Store bytes, however long Postgres is away; return None if another worker owns the log.

        If an earlier attempt was committed but its answer was lost, Postgres refuses the bytes. Its refusal reports
        sizes that already include them, and counts as a success.
        """

        def store() -> AppendResult | None:
            return None if self._over else self._store.append([append])

        def report(error: Exception, _pause: float) -> None:
            log.warning("a log waits for Postgres", execution_id=str(self._execution_id), error=str(error))

        result = until_available(store, BACKOFF, is_retryable=_is_unavailable, report=report, wait=self._lost.wait)
        if result is None:
            return None
        refused = result.refused.get(append.execution_id)
        stored = refused is None or (refused.sizes or {}).get(append.stream) == append.end
        return result if stored else None


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, LogStoreUnavailable)


def stored_ends(store: LogStore, execution_id: UUID) -> dict[str, StreamEnd]:
    """Return size and digest of each stored stream of an execution. The capture of its log must have stopped."""
    ends = {}
    for name, info in store.sizes(execution_id).items():
        digest = hashlib.sha256()
        for piece in store.iter_range(execution_id, name, 0, info.bytes):
            digest.update(piece)
        ends[name] = StreamEnd(info.bytes, digest.hexdigest(), truncated=info.truncated)
    return ends
