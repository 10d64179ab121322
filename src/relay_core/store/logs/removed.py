"""The answer about a log whose bytes were removed: size and checksum stay, and a mark says when and why."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from relay_core.domain.errors import Gone


class RemovedLog(NamedTuple):
    """The removed bytes of one stream of a log."""

    start: int
    """Offset of the first byte that was asked for and was removed."""
    end: int
    """Offset after the last one: the size of the stream."""
    sha256: str | None
    """Checksum of the whole stream."""
    removed_at: datetime
    cause: str
    """`age` or `size`: the limit that removed it."""


class LogRemoved(Gone):
    """The bytes of a log were removed.

    Attributes:
        removed: which bytes, and when.
    """

    code = "log_removed"

    def __init__(self, execution_id: UUID, stream: str, removed: RemovedLog) -> None:
        limit = "RELAY_LOG_RETENTION_DAYS" if removed.cause == "age" else "RELAY_LOG_RETENTION_BYTES"
        super().__init__(
            f"the bytes {removed.start} to {removed.end} of {stream} of execution {execution_id} were removed at "
            f"{removed.removed_at:%Y-%m-%d %H:%M:%S %Z} ({limit}); their size and sha256 are in the execution"
        )
        self.stream = stream
        self.removed = removed

    def as_json(self) -> dict[str, Any]:
        """Return what was removed, as answers show it."""
        return {"stream": self.stream, **self.removed._asdict(), "removed_at": self.removed.removed_at.isoformat()}
