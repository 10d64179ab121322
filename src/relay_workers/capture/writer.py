"""The thread that stores batches of log bytes in Postgres, so that an outage of Postgres does not block the pump."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from relay_core.domain.logs.append import Append, AppendResult, RefusedAppends, StoredAppend
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.retry import Backoff, until_available
from relay_core.store.logs.log_store import LogStore, LogStoreUnavailable
from relay_core.store.outage import is_of_the_data

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)
TRIES_OF_THE_UNKNOWN = 6
"""The number of failed tries, with an unknown error, to store bytes of one execution (about 3 s in all).

After them its process is killed, because its output cannot be kept.
"""


class ChunkWriter:
    """Stores batches in the given order, each until it succeeds or is given up, and then publishes them.

    Args:
        store: stores the logs.
        live: publishes bytes to live readers after they were committed.
        done: called in this thread with the result of each batch, in order. If an execution is neither stored nor
            refused in it, its bytes could not be stored because of an error in Relay.
    """

    def __init__(self, store: LogStore, live: LiveLogPublisher, done: Callable[[AppendResult], None]) -> None:
        self._store = store
        self._live = live
        self._done = done
        self._batches: queue.Queue[Sequence[Append] | None] = queue.Queue()
        self._taken_up_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the writer's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current batch; bytes that are not stored stay in the files."""
        self._stopping.set()
        self._batches.put(None)
        if self._thread.is_alive():
            self._thread.join(BACKOFF.last_seconds)

    @property
    def alive(self) -> bool:
        """Whether the writer's thread runs."""
        return self._thread.is_alive()

    @property
    def wait_seconds(self) -> float:
        """Seconds since the writer began with its current batch; 0 if there is none."""
        taken_up_at = self._taken_up_at
        return 0.0 if taken_up_at is None else time.monotonic() - taken_up_at

    def put(self, batch: Sequence[Append]) -> None:
        """Queue a batch for storing; the caller limits the number of queued batches."""
        self._batches.put(batch)

    def _loop(self) -> None:
        while (batch := self._batches.get()) is not None and not self._stopping.is_set():
            self._taken_up_at = time.monotonic()
            result = self._store_batch(batch)
            if result is None:
                return
            self._taken_up_at = None
            self._done(result)
            try:
                self._live.publish(result.stored)
            except Exception:  # top of the thread; clients read unpublished bytes from Postgres
                log.exception("a live tail was not told")

    def _store_batch(self, batch: Sequence[Append]) -> AppendResult | None:
        """Store a batch, waiting through an outage of any length; return None if the worker shuts down meanwhile."""
        executions = _executions(batch)
        unknown = 0

        def store() -> AppendResult | None:
            nonlocal unknown
            if self._stopping.is_set():
                return None
            try:
                return self._store.append(batch)
            except LogStoreUnavailable:
                raise
            except Exception as error:  # top of the thread: one execution must not stop the capture of all others
                log.exception("a batch of log chunks was refused", executions=list(map(str, executions)))
                if len(executions) > 1:
                    return self._one_by_one(batch, executions)
                unknown += 1
                if is_of_the_data(error) or unknown == TRIES_OF_THE_UNKNOWN:
                    return AppendResult([], {})
                raise

        def report(error: Exception, pause: float) -> None:
            if isinstance(error, LogStoreUnavailable):
                log.warning("logs wait in their files", error=str(error), retry_seconds=pause)

        return until_available(store, BACKOFF, is_retryable=lambda _: True, report=report, wait=self._stopping.wait)

    def _one_by_one(self, batch: Sequence[Append], executions: Sequence[UUID]) -> AppendResult | None:
        stored: list[StoredAppend] = []
        refused: dict[UUID, RefusedAppends] = {}
        for execution_id in executions:
            part = self._store_batch([append for append in batch if append.execution_id == execution_id])
            if part is None:
                return None
            stored += part.stored
            refused.update(part.refused)
        return AppendResult(stored, refused)


def _executions(batch: Sequence[Append]) -> list[UUID]:
    return list(dict.fromkeys(append.execution_id for append in batch))
