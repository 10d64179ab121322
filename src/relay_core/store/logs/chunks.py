"""Format of the stored chunks of a log: compression of the bytes, and rows for a binary COPY.

COPY format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". In a measurement COPY stored twice
as many bytes per second as an INSERT with parameters, and four times as many with zstd frames.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import date
from io import BytesIO
from typing import NamedTuple
from uuid import UUID

import zstandard

MAX_CHUNK_BYTES = 1 << 20
RAW = 0
ZSTD = 1

COPY = (
    "COPY log_chunks (execution_id, stream, start_offset, all_offset, byte_length, codec, data, week) "
    "FROM STDIN WITH (FORMAT binary)"
)

_WORTH_COMPRESSING = 128
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_ID = struct.Struct("!hi16s")
_TEXT_LENGTH = struct.Struct("!i")
_REST = struct.Struct("!iqiqiqihi")
_WEEK = struct.Struct("!ii")
_FIRST_DAY = date(2000, 1, 1).toordinal()
"""Postgres counts days from here."""


class Frame(NamedTuple):
    """The bytes of a chunk as they are stored: `codec` says whether they are compressed."""

    codec: int
    data: bytes
    byte_length: int
    """Number of bytes before compression."""


class ChunkRow(NamedTuple):
    """A row of `log_chunks`.

    Attributes:
        stream: `stdout` or `stderr`.
        start: offset of the first byte in that stream.
        all_offset: offset of the first byte in the stream `all`.
    """

    execution_id: UUID
    stream: str
    start: int
    all_offset: int
    frame: Frame
    week: date
    """That of the log; it chooses the partition."""


def encode(data: bytes) -> Frame:
    """Return the data as one zstd frame if that is smaller, else unchanged."""
    if len(data) >= _WORTH_COMPRESSING:
        # A compressor may not be used by two threads at once, and costs little to make.
        packed = zstandard.ZstdCompressor(level=1).compress(data)
        if len(packed) < len(data):
            return Frame(ZSTD, packed, len(data))
    return Frame(RAW, data, len(data))


def decode(frame: Frame) -> bytes:
    """Return the uncompressed bytes of a frame."""
    if frame.codec == RAW:
        return frame.data
    return zstandard.ZstdDecompressor().decompress(frame.data, max_output_size=frame.byte_length)


def copy_source(rows: Iterable[ChunkRow]) -> BytesIO:
    """Return the rows as input for the statement `COPY`."""
    parts = [_HEADER]
    for row in rows:
        stream = row.stream.encode()
        frame = row.frame
        parts += (
            _ID.pack(8, 16, row.execution_id.bytes),
            _TEXT_LENGTH.pack(len(stream)),
            stream,
            _REST.pack(8, row.start, 8, row.all_offset, 8, frame.byte_length, 2, frame.codec, len(frame.data)),
            frame.data,
            _WEEK.pack(4, row.week.toordinal() - _FIRST_DAY),
        )
    parts.append(_TRAILER)
    return BytesIO(b"".join(parts))


def joined(start: int, chunks: Sequence[tuple[int, int]]) -> bool:
    """Return whether there are chunks (their starts and ends), and no byte is missing from ``start`` to the last."""
    ends = [start, *(end for _, end in chunks)]
    return bool(chunks) and all(first <= end for (first, _), end in zip(chunks, ends, strict=False))
