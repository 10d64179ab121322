"""Sizes and states of the streams of logs, without their bytes."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from relay_core.store.schema.tables import LogStream, PartitionMark


class StreamInfo(NamedTuple):
    """Size and state of one stored stream of an execution's log: `stdout`, `stderr`, or `all` (both of them).

    The defaults describe a stream of which nothing is stored yet.

    Attributes:
        bytes: number of stored bytes.
        sha256: checksum of the stored bytes; None while the stream is open.
        truncated: whether bytes that the process wrote are missing, or may be missing.
        closed: whether nothing more is appended, because the execution has ended.
        removed_at: when the bytes were removed, of which size and checksum stay; None: they are there.
    """

    bytes: int = 0
    sha256: str | None = None
    truncated: bool = False
    closed: bool = False
    removed_at: datetime | None = None


_STREAM_INFOS = select(
    LogStream.execution_id,
    LogStream.stream,
    LogStream.bytes,
    LogStream.sha256,
    LogStream.truncated,
    LogStream.closed,
    select(PartitionMark.removed_at)
    .where(PartitionMark.parent == "log_chunks", PartitionMark.removed_at.is_not(None))
    .where(PartitionMark.starts <= LogStream.week, PartitionMark.ends > LogStream.week)
    .correlate(LogStream)
    .scalar_subquery(),
).where(LogStream.execution_id.in_(bindparam("executions", expanding=True)))


def stream_infos(connection: Connection, ids: Sequence[UUID]) -> dict[tuple[UUID, str], StreamInfo]:
    """Return sizes and states of the stored streams of some executions, by (execution, stream).

    An execution that never started has no entry.
    """
    rows = connection.execute(_STREAM_INFOS, {"executions": ids})
    return {(row.execution_id, row.stream): StreamInfo(*row[2:]) for row in rows}
