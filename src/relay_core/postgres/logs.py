"""Log bytes in Postgres: appended under fence and offset, read by offset, in any range, after everything else is gone.

A chunk is stored once. `stdout` and `stderr` find it by its offset in them, `all` by its offset in the order of
storing.
"""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import zstandard
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import Stream
from relay_core.postgres.tables import LogChunk, LogStream

CHUNK_BYTES = 1 << 20
"""Largest stored chunk, before compression."""

_RAW, _ZSTD = 0, 1
_COPY = (
    "COPY log_chunks (execution_id, stream, start_offset, all_offset, byte_length, codec, data) "
    "FROM STDIN WITH (FORMAT binary)"
)
_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_TRAILER = struct.pack("!h", -1)


@dataclass(frozen=True)
class Append:
    """Bytes that belong behind what is stored of a stream."""

    execution_id: UUID
    fence: int
    stream: str
    """`stdout` or `stderr`."""
    start: int
    """Offset of the first byte; must be the stored size."""
    data: bytes


class Key(NamedTuple):
    """A stream of an execution."""

    execution_id: UUID
    stream: str


@dataclass(frozen=True)
class Stored:
    """A chunk as it was stored."""

    append: Append
    all_offset: int


@dataclass(frozen=True)
class AppendResult:
    """What became of a batch."""

    stored: Sequence[Stored]
    refused: Mapping[Key, int | None]
    """Stored size of a stream whose offset is another (an answer was lost), or None where the fence has moved on."""


class StreamInfo(NamedTuple):
    """How much of a stream there is."""

    bytes: int = 0
    sha256: str | None = None
    """Of the whole, once it is closed."""
    truncated: bool = False
    closed: bool = False


class Piece(NamedTuple):
    """Bytes of a log and where they are."""

    stream: str
    """Where the process wrote them: `stdout` or `stderr`."""
    offset: int
    """In the stream that was asked for."""
    data: bytes


class StreamEnd(NamedTuple):
    """What is written with the end of a stream."""

    sha256: str
    truncated: bool = False


def open_streams(connection: Connection, execution_id: UUID, fence: int) -> None:
    """Make the three streams of an execution, or hand them to a new owner: older fences write nothing any more."""
    statement = insert(LogStream).values(
        [{"execution_id": execution_id, "stream": stream, "fence": fence} for stream in sorted(Stream)]
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[LogStream.execution_id, LogStream.stream], set_={"fence": statement.excluded.fence}
        )
    )


def close(connection: Connection, execution_id: UUID, fence: int, ends: Mapping[str, StreamEnd]) -> None:
    """Seal the streams within the terminal transaction.

    Raises:
        Stale: the streams are another owner's.
    """
    for stream, end in sorted(ends.items()):
        done = connection.execute(
            text(
                "UPDATE log_streams SET sha256 = :sha256, truncated = :truncated, closed = true "
                "WHERE execution_id = :execution_id AND stream = :stream AND fence = :fence"
            ),
            {"execution_id": execution_id, "stream": stream, "fence": fence, **end._asdict()},
        )
        if done.rowcount == 0:
            raise Stale(f"the log of execution {execution_id} is no longer owned with fence {fence}")


class LogStore:
    """Log bytes of all executions; usable from many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, batch: Sequence[Append]) -> AppendResult:
        """Store chunks of many streams in one transaction; a refused one does not keep the others from being stored.

        The rows of the streams are locked, compared with fence and offset, and moved; then one binary COPY writes the
        chunks. The commit does not wait for the disk: until the terminal transaction, the raw file still has the bytes.
        """
        with self._engine.begin() as connection:
            cursor = connection.connection.cursor()
            state = _lock(cursor, {append.execution_id for append in batch})
            stored, refused = _decide(batch, state)
            if stored:
                _move(cursor, {item.append.execution_id for item in stored}, state)
                cursor.copy_expert(_COPY, _copy_rows(stored), size=CHUNK_BYTES)
        return AppendResult(stored, refused)

    def append_one(self, append: Append) -> Stored:
        """Store one chunk.

        Raises:
            Stale: the execution is no longer ours, or somebody else wrote to it.
        """
        result = self.append([append])
        if result.refused:
            raise Stale(f"the log of execution {append.execution_id} is no longer owned with fence {append.fence}")
        return result.stored[-1]

    def sizes(self, execution_id: UUID) -> dict[str, StreamInfo]:
        """The three streams; empty ones where the execution has not started."""
        statement = select(
            LogStream.stream, LogStream.bytes, LogStream.sha256, LogStream.truncated, LogStream.closed
        ).where(LogStream.execution_id == execution_id)
        found: dict[str, StreamInfo] = {stream.value: StreamInfo() for stream in Stream}
        with self._engine.connect() as connection:
            for row in connection.execute(statement):
                found[row.stream] = StreamInfo(*row[1:])
        return found

    def read(self, execution_id: UUID, stream: str, start: int, limit: int) -> bytes:
        """At most ``limit`` bytes of a stream from the offset ``start``; less at its end."""
        return b"".join(piece.data for piece in self.pieces(execution_id, stream, start, limit))

    def pieces(self, execution_id: UUID, stream: str, start: int, limit: int) -> list[Piece]:
        """The same, and which stream each piece came from."""
        found = []
        end = start + limit
        for own, first, plain in self._chunks(execution_id, stream, start, end):
            begin = max(first, start)
            found.append(Piece(own, begin, plain[begin - first : end - first]))
        return found

    def iter_range(
        self, execution_id: UUID, stream: str, start: int, end: int, piece: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``end`` in pieces, one short transaction and bounded memory for each."""
        while start < end:
            data = self.read(execution_id, stream, start, min(piece, end - start))
            if not data:
                return
            yield data
            start += len(data)

    def _chunks(self, execution_id: UUID, stream: str, start: int, end: int) -> Iterator[Piece]:
        offset = LogChunk.all_offset if stream == Stream.ALL else LogChunk.start_offset
        statement = select(LogChunk.stream, offset, LogChunk.codec, LogChunk.data).where(
            LogChunk.execution_id == execution_id,
            offset > start - CHUNK_BYTES,
            offset + LogChunk.byte_length > start,
            offset < end,
        )
        if stream != Stream.ALL:
            statement = statement.where(LogChunk.stream == stream)
        with self._engine.connect() as connection:
            for own, first, codec, data in connection.execute(statement.order_by(offset)):
                yield Piece(own, first, zstandard.decompress(data) if codec == _ZSTD else bytes(data))


class _State:
    """A locked execution: its fence and the sizes of its streams, moved on while a batch is decided."""

    def __init__(self, fence: int) -> None:
        self.fence = fence
        self.sizes: dict[str, int] = {}


def _lock(cursor: Any, execution_ids: set[UUID]) -> dict[UUID, _State]:
    cursor.execute(
        "SET LOCAL synchronous_commit = off; "
        "SELECT execution_id::text, stream, fence, bytes FROM log_streams "
        "WHERE execution_id = ANY(%s::uuid[]) ORDER BY execution_id, stream FOR UPDATE",
        ([str(one) for one in execution_ids],),
    )
    state: dict[UUID, _State] = {}
    for execution_id, stream, fence, size in cursor.fetchall():
        state.setdefault(UUID(execution_id), _State(fence)).sizes[stream] = size
    return state


def _decide(batch: Sequence[Append], state: Mapping[UUID, _State]) -> tuple[list[Stored], dict[Key, int | None]]:
    stored: list[Stored] = []
    refused: dict[Key, int | None] = {}
    for append in batch:
        here = state.get(append.execution_id)
        key = Key(append.execution_id, append.stream)
        if here is None or here.fence != append.fence:
            refused[key] = None
        elif here.sizes[append.stream] != append.start:
            refused.setdefault(key, here.sizes[append.stream])
        elif append.data:
            stored.append(Stored(append, here.sizes[Stream.ALL]))
            here.sizes[append.stream] += len(append.data)
            here.sizes[Stream.ALL] += len(append.data)
    return stored, refused


def _move(cursor: Any, execution_ids: set[UUID], state: Mapping[UUID, _State]) -> None:
    rows = [(str(one), stream, size) for one in execution_ids for stream, size in state[one].sizes.items()]
    ids, streams, sizes = zip(*rows, strict=True)
    cursor.execute(
        "UPDATE log_streams s SET bytes = v.bytes "
        "FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS v(execution_id, stream, bytes) "
        "WHERE s.execution_id = v.execution_id AND s.stream = v.stream AND s.bytes <> v.bytes",
        (list(ids), list(streams), list(sizes)),
    )


def _copy_rows(stored: Sequence[Stored]) -> io.BytesIO:
    """Rows in COPY's binary format (PostgreSQL manual, COPY, "Binary Format")."""
    compressor = zstandard.ZstdCompressor(level=1)
    out = io.BytesIO()
    out.write(_COPY_HEADER)
    for item in stored:
        append = item.append
        for begin in range(0, len(append.data), CHUNK_BYTES):
            plain = append.data[begin : begin + CHUNK_BYTES]
            packed = compressor.compress(plain)
            codec, data = (_ZSTD, packed) if len(packed) < len(plain) else (_RAW, plain)
            stream = append.stream.encode()
            out.write(struct.pack("!hi", 7, 16) + append.execution_id.bytes)
            out.write(struct.pack("!i", len(stream)) + stream)
            out.write(struct.pack("!iqiqiq", 8, append.start + begin, 8, item.all_offset + begin, 8, len(plain)))
            out.write(struct.pack("!ihi", 2, codec, len(data)))
            out.write(data)
    out.write(_COPY_TRAILER)
    out.seek(0)
    return out
