"""Writes the logs of an imported workspace, and compares them with the sizes and checksums of the source."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.chunks import COPY, MAX_CHUNK_BYTES, ChunkRow, copy_source, encode
from relay_core.store.retention.partitions import present_week
from relay_core.store.schema.tables import LogStream
from relay_core.store.transfer.codec import damaged

_ROWS_AT_ONCE = 200
_BYTES_AT_ONCE = 4 << 20
_WRITTEN = (Stream.STDOUT, Stream.STDERR)


class ImportedLog:
    """The log of one imported execution.

    Args:
        connection: the transaction of the import.
        execution_id: the execution here.
        streams: rows of `log_streams` of the source, checked.
        most: most bytes of a log that this server keeps.
    """

    def __init__(
        self, connection: Connection, execution_id: UUID, streams: Sequence[dict[str, Any]], most: int
    ) -> None:
        self._most = most
        self._connection = connection
        self._execution_id = execution_id
        self._streams = {row["stream"]: row for row in streams}
        if set(self._streams) not in (set(), {*Stream}) or len(streams) != len(self._streams):
            raise damaged("a log has other streams than stdout, stderr and all")
        self._sums = {stream.value: hashlib.sha256() for stream in Stream}
        self._sizes = {stream.value: 0 for stream in Stream}
        self._rows: list[ChunkRow] = []
        self._week = present_week(connection)
        self._waiting = 0

    def add(self, stream: str, data: bytes) -> None:
        """Add the next bytes of stdout or stderr.

        Raises:
            InvalidInput: `import_damaged`: there is no such stream, or a piece is empty or too large;
                `import_too_large`: the log is larger than any of this server.
        """
        if stream not in _WRITTEN or not self._streams or not 0 < len(data) <= MAX_CHUNK_BYTES:
            raise damaged("a piece of a log is of no stream, or has no usable size")
        if self._sizes[Stream.ALL] + len(data) > self._most:
            message = f"a log has more than {self._most} bytes; this server keeps no larger ones (RELAY_MAX_LOG_BYTES)"
            raise InvalidInput(message, code="import_too_large")
        self._rows.append(
            ChunkRow(self._execution_id, stream, self._sizes[stream], self._sizes[Stream.ALL], encode(data), self._week)
        )
        for name in (stream, Stream.ALL.value):
            self._sums[name].update(data)
            self._sizes[name] += len(data)
        self._waiting += len(data)
        if len(self._rows) >= _ROWS_AT_ONCE or self._waiting >= _BYTES_AT_ONCE:
            self._write()

    def end(self) -> None:
        """Store what is left, and the streams.

        Raises:
            InvalidInput: `import_damaged`: a stream has another size or checksum than in the source.
        """
        self._write()
        for name, row in self._streams.items():
            told = row.get("sha256")
            if row["bytes"] != self._sizes[name] or (told is not None and told != self._sums[name].hexdigest()):
                raise damaged(f"{name} of an execution has not the bytes that it has in the source")
            values = {**row, "execution_id": self._execution_id, "sha256": self._sums[name].hexdigest(), "closed": True}
            self._connection.execute(insert(LogStream).values(**values, week=self._week))

    def _write(self) -> None:
        if self._rows:
            cursor = self._connection.connection.cursor()
            cursor.copy_expert(COPY, copy_source(self._rows), size=MAX_CHUNK_BYTES)
            self._rows, self._waiting = [], 0
