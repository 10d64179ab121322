"""Writes the progress of clones as events: rarely, on a thread of its own, and never in the way of an execution.

Only the newest state of each execution is kept, in memory. If Postgres is slow or refuses the event, the state is lost,
and nothing else.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.git.fetch_progress import FetchProgress
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.progress import append_progress
from relay_core.store.transaction import Database

SECONDS = 1.0
"""Least time between two events of one execution, and between its begin and the first event."""

log = structlog.get_logger(__name__)

Tell = Callable[[str, FetchProgress], None]
"""Takes the progress of a fetch: the URL of the remote, without credentials, and the state. Returns immediately."""


@dataclass
class _Followed:
    """An execution whose progress is written."""

    fence: int
    due_at: float
    """Time before which no event is written, in seconds of the clock."""
    newest: dict[str, Any] | None = None
    """Payload of the next event; None: nothing has changed since the last one."""


class ProgressEvents:
    """Writes the progress of the executions of one worker. Its thread lives while there are some. Thread-safe.

    Args:
        database: stores the events; at most one of its connections is used.
        seconds: least time between two events of one execution.
    """

    def __init__(self, database: Database, seconds: float = SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._changed = threading.Condition()
        self._followed: dict[UUID, _Followed] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(self, claimed: Claimed) -> Iterator[Tell]:
        """Write the progress of an execution within the block, which ends before the end of the execution is written.

        Leaving the block does not wait for an event that is being written: Postgres takes it before the end of the
        execution, or not at all.
        """
        mine = _Followed(claimed.fence, time.monotonic() + self._seconds)

        def tell(remote: str, progress: FetchProgress) -> None:
            with self._changed:
                first, mine.newest = mine.newest is None, _payload(remote, progress)
                if first:
                    self._changed.notify_all()

        with self._changed:
            self._followed[claimed.execution_id] = mine
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
                self._thread.start()
        try:
            yield tell
        finally:
            with self._changed:
                if self._followed.get(claimed.execution_id) is mine:
                    del self._followed[claimed.execution_id]
                self._changed.notify_all()

    # The methods below run in the thread that writes.

    def _work(self) -> None:
        while (due := self._next()) is not None:
            execution_id, followed, payload = due
            try:
                with self._database.begin() as connection:
                    append_progress(connection, execution_id, followed.fence, payload)
            except Exception as error:  # noqa: BLE001 - a thread's top: progress may be lost, an execution may not
                log.info("progress is not stored", execution_id=str(execution_id), error=type(error).__name__)
            with self._changed:
                followed.due_at = time.monotonic() + self._seconds

    def _next(self) -> tuple[UUID, _Followed, dict[str, Any]] | None:
        """Wait for the next event that is due; None ends the thread, as no execution is left."""
        with self._changed:
            while self._followed:
                waiting = [(each.due_at, key) for key, each in self._followed.items() if each.newest is not None]
                due_at, execution_id = min(waiting, default=(None, None))
                now = time.monotonic()
                if due_at is not None and execution_id is not None and due_at <= now:
                    followed = self._followed[execution_id]
                    payload, followed.newest = followed.newest, None
                    return execution_id, followed, payload or {}
                self._changed.wait(None if due_at is None else due_at - now)
            self._thread = None
            return None


def _payload(remote: str, progress: FetchProgress) -> dict[str, Any]:
    return {
        "remote": remote,
        "phase": progress.phase,
        "objects": progress.objects,
        "total": progress.total,
        "bytes": progress.bytes,
    }
