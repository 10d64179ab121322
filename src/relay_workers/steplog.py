"""The log of a step without a process in a container: the worker itself writes it (clone and preparation)."""

import hashlib
import threading
import time
from uuid import UUID

from relay_core.domain.log_append import AppendResult
from relay_core.domain.vocabulary import Stream
from relay_core.live_logs import LiveLogPublisher
from relay_core.postgres.logs import Append, LogStore, LogStoreUnavailable, StreamEnd
from relay_workers.outcome import LetGo

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.1, 5.0


class StepLog:
    """Appends to the stdout stream of an execution, behind what an earlier owner has stored.

    Thread-safe. Raises `LetGo` when the execution is no longer ours.
    """

    def __init__(self, store: LogStore, live: LiveLogPublisher, execution_id: UUID, fence: int) -> None:
        self._store = store
        self._live = live
        self._execution_id = execution_id
        self._fence = fence
        self._lock = threading.Lock()
        self._offset = store.sizes(execution_id)[Stream.STDOUT].bytes
        self._sha256 = hashlib.sha256()
        for piece in store.iter_range(execution_id, Stream.STDOUT, 0, self._offset):
            self._sha256.update(piece)

    def write(self, data: bytes) -> None:
        """Store ``data`` before returning."""
        if not data:
            return
        with self._lock:
            result = self._append(Append(self._execution_id, self._fence, Stream.STDOUT, self._offset, data))
            self._offset += len(data)
            self._sha256.update(data)
        self._live.publish(result.stored)

    def _append(self, append: Append) -> AppendResult:
        """Through an outage of any length; one that ended after the commit shows in the sizes of the refusal."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                result = self._store.append([append])
            except LogStoreUnavailable:
                time.sleep(backoff)
                backoff = min(LAST_BACKOFF_SECONDS, 2 * backoff)
                continue
            refused = result.refused.get(append.execution_id)
            if refused is None or (refused.sizes or {}).get(append.stream) == append.end:
                return result
            raise LetGo

    def say(self, line: str) -> None:
        """Store a line of Relay's own."""
        self.write(f"relay: {line}\n".encode())

    def ends(self) -> dict[str, StreamEnd]:
        """What to close the streams with."""
        mine = StreamEnd(self._offset, self._sha256.hexdigest(), truncated=False)
        nothing = StreamEnd(0, hashlib.sha256().hexdigest(), truncated=False)
        return {Stream.STDOUT: mine, Stream.STDERR: nothing, Stream.ALL: mine}


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
