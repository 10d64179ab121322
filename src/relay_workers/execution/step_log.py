"""The log of a step without a process in a container: the worker itself writes it (clone and preparation)."""

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
from relay_core.live_log.port import LiveLogPublisher
from relay_core.retry import Backoff, until_available
from relay_core.store.logs.log_store import Append, LogStore, LogStoreUnavailable, StreamEnd
from relay_workers.ownership.live_executions import OwnershipLost

BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)
LOOK_SECONDS = 0.5
"""Between two looks at whether the run is still ours, while an outage lasts."""
APPEND_BYTES = 1 << 20
WAITING_BYTES = 4 << 20
"""So much waits in memory for Postgres; who writes more has to wait, too."""

log = structlog.get_logger(__name__)


class StepLog:
    """Appends to the stdout stream of an execution, behind what an earlier owner has stored; a context manager.

    A thread of its own stores: a fetch has a deadline, and Postgres being away must not use it up. Leaving the context
    stores what was written, except when the run is left to others.

    Args:
        store: where to.
        live: told after each commit.
        execution_id: whose log.
        fence: of its owner.
        log_bytes: stored bytes stop exactly here; what comes after is dropped, and the end says `truncated`.
        lost: set when the run is no longer ours; `write` and `ends` then raise `OwnershipLost`.
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
        """Postgres has the log as another owner's."""
        self._broken: Exception | None = None
        self._over = False
        self._sha256 = hashlib.sha256()
        for piece in store.iter_range(execution_id, Stream.STDOUT, 0, self._stored):
            self._sha256.update(piece)
        self._thread = threading.Thread(target=self._work, name=f"step-log-{execution_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Store the rest, unless the run is left to others; nothing is stored after that."""
        try:
            if not isinstance(error, OwnershipLost | Stale):
                self._flush()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def write(self, data: bytes) -> None:
        """Take ``data``; it is stored soon. Waits only when `WAITING_BYTES` wait already.

        Raises:
            OwnershipLost: the execution is no longer ours.
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
        """Write a line of Relay's own."""
        self.write(f"relay: {line}\n".encode())

    def ends(self) -> dict[str, StreamEnd]:
        """What to close the streams with, once all is stored, through an outage of any length.

        Raises:
            OwnershipLost: the execution is no longer ours.
        """
        self._flush()
        mine = StreamEnd(self._written, self._sha256.hexdigest(), self._truncated)
        nothing = StreamEnd(0, hashlib.sha256().hexdigest(), truncated=False)
        return {Stream.STDOUT: mine, Stream.STDERR: nothing, Stream.ALL: mine}

    def _flush(self) -> None:
        with self._changed:
            self._wait_until(lambda: self._stored == self._written)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        """The condition is held."""
        while True:
            if self._refused or self._lost.is_set():
                raise OwnershipLost("its log is another owner's")
            if self._broken is not None:
                raise self._broken
            if done():
                return
            self._changed.wait(LOOK_SECONDS)

    # the thread that stores

    def _work(self) -> None:
        while (data := self._next()) is not None:
            append = Append(self._execution_id, self._fence, Stream.STDOUT, self._stored, data)
            try:
                result = self._append(append)
            except Exception as error:  # noqa: BLE001 - a thread's top: whoever writes raises it
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
        """Through an outage of any length; one that ended after the commit shows in the sizes of the refusal."""

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
    """What to close the streams with after a step that broke: exactly what is stored of it.

    Its capture must be detached before, so that nothing is stored any more.
    """
    ends = {}
    for name, info in store.sizes(execution_id).items():
        digest = hashlib.sha256()
        for piece in store.iter_range(execution_id, name, 0, info.bytes):
            digest.update(piece)
        ends[name] = StreamEnd(info.bytes, digest.hexdigest(), truncated=info.truncated)
    return ends
