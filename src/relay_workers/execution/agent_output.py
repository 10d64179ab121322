"""The output of one coding agent, as its reader gets it."""

from collections.abc import Iterator
from uuid import UUID

from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import LogStore
from relay_workers.agents.shared.stderr import TAIL_BYTES
from relay_workers.execution.raw_output import RawOutput


class AgentOutput:
    """Reads the stored output, with masked bytes as the agent wrote them where the raw file still has them.

    Args:
        logs: where the output is stored.
        execution_id: of the agent.
        raw: the raw file; None: the reader gets the stored, masked bytes.
    """

    def __init__(self, logs: LogStore, execution_id: UUID, raw: RawOutput | None = None) -> None:
        self._logs = logs
        self._execution_id = execution_id
        self._raw = raw

    def size(self) -> int:
        """Bytes of standard output that are stored now."""
        return self._logs.sizes(self._execution_id)[Stream.STDOUT].bytes

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Standard output between two offsets, piece by piece."""
        offset = begin
        for piece in self._logs.iter_range(self._execution_id, Stream.STDOUT, begin, end):
            yield piece if self._raw is None else self._raw.at(offset, piece)
            offset += len(piece)

    def stderr_tail(self, size: int) -> bytes:
        """The end of a standard error of ``size`` bytes, masked: it tells causes of failures that nothing else does."""
        begin = max(0, size - TAIL_BYTES)
        return b"".join(self._logs.iter_range(self._execution_id, Stream.STDERR, begin, size))

    def close(self) -> None:
        """Close the raw file; reading opens it again."""
        if self._raw is not None:
            self._raw.close()
