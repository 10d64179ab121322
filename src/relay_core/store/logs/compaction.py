"""Compaction: small chunks of a finished log are merged into large ones.

A log that was written line by line has a row for every few bytes.

Readers get the same bytes for every offset and range, even while the log is being compacted: each read is one
statement, which sees the rows either before or after a merge, and a read may begin inside a chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.chunks import MAX_CHUNK_BYTES, Frame, decode, encode
from relay_core.store.retention.partitions import present_week
from relay_core.store.schema.tables import LogChunk, LogStream

ROWS_AT_ONCE = 1000
"""Most rows that one step of compaction reads; bounds memory and the length of the transaction."""
BYTES_AT_ONCE = 8 << 20
LOGS_AT_ONCE = 1000
"""Most logs that `pass_over_short` looks at."""

C = LogChunk


@dataclass(frozen=True)
class Step:
    """The result of one step of compaction.

    Attributes:
        after: number of rows that replaced the rows read.
    """

    execution_id: UUID
    before: int
    """Number of rows that the step read."""
    after: int
    complete: bool
    """Whether the log needs no further step."""


def pass_over_short(connection: Connection) -> int:
    """Note that finished logs of at most one row need no compaction, `LOGS_AT_ONCE` at most; return their number."""
    s = LogStream
    few = select(C.all_offset).where(C.execution_id == s.execution_id, C.week == s.week).limit(2)
    first_two = few.correlate(s).subquery()
    short = (
        select(s.execution_id)
        .where(s.stream == Stream.ALL, s.closed, s.compacted_to == 0)
        .where(select(func.count()).select_from(first_two).scalar_subquery() < 2)
        .limit(LOGS_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    mine = (s.stream == Stream.ALL) & s.execution_id.in_(short)
    return connection.execute(update(s).where(mine).values(compacted_to=None)).rowcount


def compact_one(connection: Connection) -> Step | None:
    """Do one step of compaction of a finished log; return None if no log needs one.

    Call this until it returns None, each time in a new transaction. Calls at the same time work on different logs.
    """
    s = LogStream
    found = connection.execute(
        select(s.execution_id, s.compacted_to, s.bytes, s.week)
        .where(s.stream == Stream.ALL, s.closed, s.compacted_to.is_not(None))
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if found is None:
        return None
    if found.week < present_week(connection):  # a worker of an older version may have stored rows in later weeks
        strays = update(C).where(C.execution_id == found.execution_id, C.week > found.week)
        connection.execute(strays.values(week=found.week))
    mine = (C.execution_id == found.execution_id) & (C.week == found.week)
    rows = _next_rows(connection, mine, found.compacted_to)
    after = sum(_merge(connection, mine, found, run) for run in _runs(rows))
    reached = rows[-1].all_offset + rows[-1].byte_length if rows else found.bytes
    complete = reached >= found.bytes
    of_log = (s.execution_id == found.execution_id) & (s.stream == Stream.ALL)
    connection.execute(update(s).where(of_log).values(compacted_to=None if complete else reached))
    return Step(found.execution_id, len(rows), after, complete)


def _next_rows(connection: Connection, mine: ColumnElement[bool], start: int) -> Sequence[Any]:
    sizes = (
        select(C.all_offset, C.byte_length)
        .where(mine, C.all_offset >= start)
        .order_by(C.all_offset)
        .limit(ROWS_AT_ONCE)
    )
    end = start
    for all_offset, length in connection.execute(sizes):
        if end > start and all_offset + length - start > BYTES_AT_ONCE:
            break
        end = all_offset + length
    return connection.execute(
        select(C.stream, C.start_offset, C.all_offset, C.byte_length)
        .where(mine, C.all_offset >= start, C.all_offset < end)
        .order_by(C.all_offset)
    ).all()


def _runs(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield groups of neighbouring rows of one stream that fit into one chunk together."""
    run: list[Any] = []
    size = 0
    for row in rows:
        if run and (row.stream != run[-1].stream or size + row.byte_length > MAX_CHUNK_BYTES):
            yield run
            run, size = [], 0
        run.append(row)
        size += row.byte_length
    if run:
        yield run


def _merge(connection: Connection, mine: ColumnElement[bool], log: Any, run: Sequence[Any]) -> int:
    """Replace a group of neighbouring rows by one row.

    Returns:
        Number of rows that the group has now: always 1.
    """
    if len(run) == 1:
        return 1
    first, last = run[0], run[-1]
    merged = mine & C.all_offset.between(first.all_offset, last.all_offset)
    taken = connection.execute(delete(C).where(merged).returning(C.all_offset, C.codec, C.data, C.byte_length)).all()
    data = b"".join(decode(Frame(row.codec, bytes(row.data), row.byte_length)) for row in sorted(taken))
    frame = encode(data)
    connection.execute(
        insert(C).values(
            execution_id=log.execution_id,
            week=log.week,
            stream=first.stream,
            start_offset=first.start_offset,
            all_offset=first.all_offset,
            byte_length=frame.byte_length,
            codec=frame.codec,
            data=frame.data,
        )
    )
    return 1


def waiting(connection: Connection) -> int:
    """Return the number of finished logs that are not completely compacted yet."""
    s = LogStream
    wanted = select(func.count()).where(s.stream == Stream.ALL, s.closed, s.compacted_to.is_not(None))
    return connection.execute(wanted).scalar_one()
