"""The bytes of logs in Postgres, where they stay when container and files are gone.

An append names the owner's fence and the offset, and is refused if either does not match. A chunk is stored once and
has two offsets: one in `stdout` or `stderr`, and one in `all`, which has both in the order of storing. Rows of
`log_streams` are always locked in the order (execution, stream).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
from sqlalchemy import Connection, Engine, bindparam, exc, func, select, text
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import RelayError, Stale
from relay_core.domain.logs.append import Append, AppendResult, StoredAppend, decide
from relay_core.domain.vocabulary import FINAL, Stream
from relay_core.store.logs.chunks import COPY, MAX_CHUNK_BYTES, ChunkRow, Frame, copy_source, decode, encode, joined
from relay_core.store.logs.removed import LogRemoved, RemovedLog
from relay_core.store.logs.stream_appends import lock_streams, store_sizes
from relay_core.store.logs.stream_info import StreamInfo, stream_infos
from relay_core.store.outage import LogStoreUnavailable, is_away, is_of_a_partition
from relay_core.store.schema.tables import ExecutionProcess, LogChunk, LogStream, PartitionMark
from relay_core.store.transaction import Database

__all__ = [
    "Append",
    "AppendResult",
    "LogStore",
    "LogStoreUnavailable",
    "Piece",
    "Progress",
    "StoredAppend",
    "StreamEnd",
]

CHUNKS_AT_ONCE = 1000
"""Most chunks of one read.

A log that was written byte by byte has a million chunks in a mebibyte.
"""
MOST_WEEKS = 10_000
"""Most logs of which a store remembers the partition."""


class Piece(NamedTuple):
    """Consecutive bytes of a log, with their stream and offset."""

    stream: str
    """The stream to which the process wrote the bytes: `stdout` or `stderr`."""
    offset: int
    """Offset of the first byte in the stream that was read."""
    data: bytes

    @property
    def end(self) -> int:
        """Offset after the last byte, in the stream that was read."""
        return self.offset + len(self.data)


class Progress(NamedTuple):
    """Sizes of a log's streams, all read at one moment."""

    sizes: Mapping[str, int]
    complete: bool
    """Whether no byte will follow: the streams are closed, or the execution has ended without a log."""


class StreamEnd(NamedTuple):
    """Size and checksum with which a stream is closed."""

    bytes: int
    """Number of bytes that were hashed; a stream that has another size is not closed."""
    sha256: str
    truncated: bool = False


def open_streams(connection: Connection, execution_id: UUID, fence: int) -> None:
    """Create the three streams of an execution, or hand them over to a new owner.

    From then on, appends with another fence are refused.

    Args:
        connection: the transaction that claims the execution or takes it over.
        execution_id: the execution.
        fence: fence of the new owner.
    """
    statement = insert(LogStream).values(
        [{"execution_id": execution_id, "stream": stream, "fence": fence} for stream in sorted(Stream)]
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[LogStream.execution_id, LogStream.stream], set_={"fence": statement.excluded.fence}
        )
    )


_CLOSE = text(
    "UPDATE log_streams AS s SET sha256 = e.sha256, truncated = e.truncated, closed = true "
    "FROM unnest(CAST(:streams AS text[]), CAST(:sizes AS bigint[]), CAST(:sums AS text[]), "
    "CAST(:truncated AS boolean[])) AS e (stream, bytes, sha256, truncated) "
    "WHERE s.execution_id = :execution_id AND s.fence = :fence AND s.stream = e.stream AND s.bytes = e.bytes "
    "RETURNING s.stream"
)


def close(connection: Connection, execution_id: UUID, fence: int, ends: Mapping[str, StreamEnd]) -> None:
    """Close the streams of an execution, in the transaction that ends it. Closed streams accept no bytes.

    Args:
        connection: the transaction that ends the execution.
        execution_id: the execution.
        fence: fence of the caller's claim.
        ends: expected size and checksum by stream.

    Raises:
        Stale: another worker owns the streams, or a stream does not have the size that was hashed: bytes arrived
            afterwards, or a crash of Postgres lost some. The next owner then ends the execution.
    """
    names = sorted(ends)
    closed = connection.scalars(
        _CLOSE,
        {
            "execution_id": execution_id,
            "fence": fence,
            "streams": names,
            "sizes": [ends[name].bytes for name in names],
            "sums": [ends[name].sha256 for name in names],
            "truncated": [ends[name].truncated for name in names],
        },
    )
    check_closed(execution_id, fence, ends, frozenset(closed))


def check_closed(execution_id: UUID, fence: int | None, ends: Mapping[str, StreamEnd], closed: Collection[str]) -> None:
    """Raise `Stale`, as `close` does, if not all streams were closed."""
    for stream in sorted(set(ends) - set(closed)):
        raise Stale(
            f"{stream} of execution {execution_id} is not closed: it is no longer owned with fence {fence}, "
            f"or no longer has the {ends[stream].bytes} bytes that were hashed"
        )


_REMOVED = (
    select(LogStream.bytes, LogStream.sha256, PartitionMark.removed_at, PartitionMark.cause)
    .join(PartitionMark, (PartitionMark.starts <= LogStream.week) & (PartitionMark.ends > LogStream.week))
    .where(LogStream.execution_id == bindparam("execution"), LogStream.stream == bindparam("stream"))
    .where(LogStream.bytes > bindparam("start"), PartitionMark.parent == "log_chunks")
    .where(PartitionMark.removed_at.is_not(None))
)


class LogStore:
    """Reads and appends log bytes of all executions; usable from many threads, unless it reads through a connection."""

    def __init__(self, database: Engine | Database, connection: Connection | None = None) -> None:
        self._database = database
        self._connection = connection
        self._weeks: dict[UUID, date] = {}

    def append(self, batch: Sequence[Append]) -> AppendResult:
        """Store appends of many executions in one transaction; of each execution all are stored or none.

        If one execution is refused, the others are stored all the same. After an error the same batch may be passed
        again: an append that was stored the first time is not stored twice. The commit does not wait for the disk:
        until `confirm` or the transaction that ends the execution, the raw log file must keep the bytes.

        Raises:
            LogStoreUnavailable: Postgres does not answer; try again later.
        """
        frames = [_frames(append) for append in batch]  # before any row is locked
        with self._transaction() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
            state, weeks = lock_streams(cursor, {append.execution_id for append in batch})
            decision = decide(batch, state)
            if decision.written:
                store_sizes(cursor, decision)
                rows = [row for stored in decision.written for row in _rows(stored, frames[stored.position], weeks)]
                cursor.copy_expert(COPY, copy_source(rows), size=MAX_CHUNK_BYTES)
        return decision.result

    def confirm(self, execution_id: UUID, fence: int) -> dict[str, int]:
        """Wait until all stored bytes of a log are on disk, so that a crash of Postgres cannot lose them.

        Returns:
            The stored sizes by stream.

        Raises:
            Stale: another worker owns the log.
            LogStoreUnavailable: Postgres does not answer; try again later.
        """
        with self._transaction() as cursor:
            state = lock_streams(cursor, {execution_id})[0].get(execution_id)
            if state is None or state.fence != fence:
                raise _stale(execution_id, fence)
            # The write makes this commit wait until Postgres' own log, with all earlier commits, is on disk.
            cursor.execute("UPDATE log_streams SET fence = fence WHERE execution_id = %s", (str(execution_id),))
        return dict(state.sizes)

    def sizes(self, execution_id: UUID) -> dict[str, StreamInfo]:
        """Return size and state of the three streams of an execution, by name.

        They are empty if the execution has not started.
        """
        with self._reading() as connection:
            found = stream_infos(connection, [execution_id])
        return {stream.value: found.get((execution_id, stream.value), StreamInfo()) for stream in Stream}

    def progress(self, execution_id: UUID) -> Progress:
        """Return the sizes of the streams and whether the log is complete, both read at one moment."""
        statement = (
            select(ExecutionProcess.status, LogStream.stream, LogStream.bytes, LogStream.closed)
            .outerjoin(LogStream, LogStream.execution_id == ExecutionProcess.id)
            .where(ExecutionProcess.id == execution_id)
        )
        with self._database.connect() as connection:
            rows = connection.execute(statement).all()
        sizes = {stream.value: 0 for stream in Stream} | {row.stream: row.bytes for row in rows if row.stream}
        return Progress(sizes, all(row.closed or row.status in FINAL for row in rows))

    def read(self, execution_id: UUID, stream: str, start: int, limit: int) -> bytes:
        """Return at most ``limit`` bytes of a stream from the offset ``start`` on; fewer at the end of the stream."""
        return b"".join(self.iter_range(execution_id, stream, start, start + limit))

    def iter_range(
        self, execution_id: UUID, stream: str, start: int, end: int, piece: int = MAX_CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``end`` in pieces of at most ``piece`` bytes.

        They are fewer if the stream ends before ``end``. Each piece is read in a short transaction of its own, so
        memory is bounded by the size of a piece.
        """
        while start < end:
            found = self.pieces(execution_id, stream, start, min(piece, end - start))
            if not found:
                return
            yield b"".join(one.data for one in found)
            start = found[-1].end

    def pieces(self, execution_id: UUID, stream: str, start: int, limit: int) -> list[Piece]:
        """Return some bytes from ``start`` on, at most ``limit``, as one piece for each stored chunk.

        The result is empty only at the end of the stream.

        Raises:
            LogRemoved: the bytes were removed.
            RelayError: a chunk is missing.
        """
        span = execution_id, stream, start, start + limit
        chunks = list(self._chunks(*span))
        if limit > 0 and not joined(start, [(one.offset, one.end) for one in chunks]):
            self._refuse_removed(execution_id, stream, start)
            if chunks or self.sizes(execution_id)[stream].bytes > start:
                chunks = list(self._chunks(*span, strays=True))
        found: list[Piece] = []
        at = start
        for own, first, plain in chunks:
            if first > at:
                raise RelayError(f"the log of {execution_id} has no bytes {at}-{first} in {stream}: a chunk is missing")
            found.append(Piece(own, at, plain[at - first : start + limit - first]))
            at = found[-1].end
        return found

    def require_bytes(self, execution_id: UUID, stream: str) -> None:
        """Raise an error if the bytes of a log were removed, as `pieces` does.

        Raises:
            LogRemoved: they were.
        """
        self._refuse_removed(execution_id, stream, 0)

    def _refuse_removed(self, execution_id: UUID, stream: str, start: int) -> None:
        values = {"execution": execution_id, "stream": stream, "start": start}
        with self._reading() as connection:
            row = connection.execute(_REMOVED, values).one_or_none()
        if row is not None:
            raise LogRemoved(execution_id, stream, RemovedLog(start, row.bytes, row.sha256, row.removed_at, row.cause))

    def iter_pieces(self, execution_id: UUID, stream: str) -> Iterator[Piece]:
        """Yield all stored pieces of a stream, in bounded memory."""
        at = 0
        while found := self.pieces(execution_id, stream, at, MAX_CHUNK_BYTES):
            yield from found
            at = found[-1].end

    def _chunks(
        self, execution_id: UUID, stream: str, start: int, end: int, *, strays: bool = False
    ) -> Iterator[Piece]:
        """Yield chunks; with strays also those that a worker of an older version stored in a later week."""
        offset = LogChunk.all_offset if stream == Stream.ALL else LogChunk.start_offset
        week = self._week(execution_id)
        if week is None:
            return
        mine = [LogChunk.execution_id == execution_id, LogChunk.week >= week if strays else LogChunk.week == week]
        if stream != Stream.ALL:
            mine.append(LogChunk.stream == stream)
        first = select(func.max(offset)).where(*mine, offset <= start).scalar_subquery()
        statement = (
            select(LogChunk.stream, offset, LogChunk.codec, LogChunk.data, LogChunk.byte_length)
            .where(*mine, offset >= first, offset < end, offset + LogChunk.byte_length > start)
            .order_by(offset)
            .limit(CHUNKS_AT_ONCE)
        )
        with self._reading() as connection:
            rows = connection.execute(statement).all()
        for own, at, codec, data, length in rows:
            yield Piece(own, at, decode(Frame(codec, bytes(data), length)))

    def _week(self, execution_id: UUID) -> date | None:
        """Return the week whose partition has the bytes of a log, which never changes; None: the log has no stream."""
        known = self._weeks.get(execution_id)
        if known is not None:
            return known
        statement = select(LogStream.week).where(LogStream.execution_id == execution_id).limit(1)
        with self._reading() as connection:
            week: date | None = connection.scalar(statement)
        if week is not None:
            if len(self._weeks) >= MOST_WEEKS:
                self._weeks.clear()
            self._weeks[execution_id] = week
        return week

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._connection is not None:
            yield self._connection
            return
        with self._database.connect() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Open a transaction and yield a cursor of psycopg2; SQLAlchemy's connections offer no COPY.

        Raises:
            LogStoreUnavailable: Postgres does not answer.
        """
        try:
            connection = self._database.raw_connection()
        except (psycopg2.Error, exc.SQLAlchemyError) as error:  # any error means that there is no connection
            raise _unavailable(error) from error
        try:
            yield connection.cursor()
            connection.commit()
        except psycopg2.Error as error:
            if not is_away(error):
                connection.rollback()
                if is_of_a_partition(error):
                    raise _unavailable(error) from error
                raise
            connection.invalidate()
            raise _unavailable(error) from error
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()


def _frames(append: Append) -> list[Frame]:
    data = append.data
    return [encode(data[at : at + MAX_CHUNK_BYTES]) for at in range(0, len(data), MAX_CHUNK_BYTES)]


def _rows(stored: StoredAppend, frames: Sequence[Frame], weeks: Mapping[UUID, date]) -> Iterator[ChunkRow]:
    at = 0
    append = stored.append
    for frame in frames:
        offsets = append.start + at, stored.all_offset + at
        yield ChunkRow(append.execution_id, append.stream, *offsets, frame, weeks[append.execution_id])
        at += frame.byte_length


def _stale(execution_id: UUID, fence: int) -> Stale:
    return Stale(f"the log of execution {execution_id} is no longer owned with fence {fence}")


def _unavailable(error: Exception) -> LogStoreUnavailable:
    return LogStoreUnavailable(f"Postgres did not take log bytes: {str(error).strip().splitlines()[0]}")
