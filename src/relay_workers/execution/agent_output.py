"""Reads the stored output of one coding agent, for the agent's `TurnReader`."""

from collections.abc import Iterator
from uuid import UUID

from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import LogStore
from relay_workers.agents.shared.stderr import TAIL_BYTES
from relay_workers.execution.raw_output import RawOutput


class AgentOutput:
    """Reads an agent's stored output; where the stored log is masked, the original bytes come from the raw log file.

    Args:
        logs: the store that holds the output.
        execution_id: the agent's execution.
        raw: access to the raw log file. With None, the masked bytes are returned as they are stored.
    """

    def __init__(self, logs: LogStore, execution_id: UUID, raw: RawOutput | None = None) -> None:
        self._logs = logs
        self._execution_id = execution_id
        self._raw = raw

    def size(self) -> int:
        """Return the number of bytes of standard output that are stored now."""
        return self._logs.sizes(self._execution_id)[Stream.STDOUT].bytes

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of standard output from offset ``begin`` up to offset ``end``, in pieces."""
        offset = begin
        for piece in self._logs.iter_range(self._execution_id, Stream.STDOUT, begin, end):
            yield piece if self._raw is None else self._raw.at(offset, piece)
            offset += len(piece)

    def stderr_tail(self, size: int) -> bytes:
        """Return the last `TAIL_BYTES` bytes of standard error, masked. Some failures are explained nowhere else.

        Args:
            size: the length of the whole stored standard error, in bytes.
        """
        begin = max(0, size - TAIL_BYTES)
        return b"".join(self._logs.iter_range(self._execution_id, Stream.STDERR, begin, size))

    def close(self) -> None:
        """Close the raw log file; the next read opens it again."""
        if self._raw is not None:
            self._raw.close()
