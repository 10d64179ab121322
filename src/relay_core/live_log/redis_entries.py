"""The entries of a live tail as they are stored in Redis; `publisher` writes them and `follower` reads them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from relay_core.domain.logs.append import StoredAppend
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import Piece

ENTRY_BYTES = 32 << 10
"""Most log bytes of one entry."""
BURST_BYTES = 256 << 10
"""Most bytes of one execution that one batch publishes. Of a larger batch the newest bytes are published; readers take
the others from Postgres."""


class Entry(NamedTuple):
    """An entry of the Redis stream of an execution: a piece of `stdout` or `stderr`."""

    stream: str
    offset: int
    """Offset of the first byte of `data` in its own stream (`stdout` or `stderr`)."""
    all_offset: int
    """Offset of the first byte of `data` in the stream `all`."""
    data: bytes

    @property
    def entry_id(self) -> str:
        """ID of the entry in Redis: the offset of the entry's end in `all`, so that IDs grow with the log."""
        return id_after(self.all_offset + len(self.data))

    @property
    def fields(self) -> dict[str, bytes | str | int]:
        """The fields of the entry in Redis."""
        return {"stream": self.stream, "offset": self.offset, "all": self.all_offset, "data": self.data}


def key(execution_id: UUID) -> str:
    """Return the name of the Redis stream that holds the live tail of an execution's log."""
    return f"relay:log:{execution_id}"


def id_after(all_bytes: int) -> str:
    """Return the Redis stream ID after which to read, for a reader that has the first ``all_bytes`` bytes of `all`."""
    return f"{all_bytes}-0"


def entries(stored: Sequence[StoredAppend]) -> list[Entry]:
    """Return the entries for chunks of one execution, in order; at most the newest `BURST_BYTES` bytes."""
    found: list[Entry] = []
    room = BURST_BYTES
    for chunk in reversed(stored):
        for piece in _pieces_from_the_end(chunk):
            if len(piece.data) > room:
                return found[::-1]
            room -= len(piece.data)
            found.append(piece)
    return found[::-1]


def _pieces_from_the_end(stored: StoredAppend) -> Iterator[Entry]:
    append = stored.append
    for at in reversed(range(0, len(append.data), ENTRY_BYTES)):
        yield Entry(append.stream, append.start + at, stored.all_offset + at, append.data[at : at + ENTRY_BYTES])


def piece_for(fields: Mapping[bytes, bytes], stream: str, offset: int) -> Piece | None:
    """Return the bytes of an entry that a reader of ``stream`` at ``offset`` does not have yet.

    Args:
        fields: the fields of the entry, as Redis returns them.
        stream: `stdout`, `stderr` or `all`.
        offset: first byte of ``stream`` that the reader does not have.

    Returns:
        The new bytes; an empty piece if the entry has no new bytes. None if bytes are missing between ``offset`` and
        the entry, or if the entry marks the end of the log: the reader has to query Postgres.
    """
    if b"data" not in fields:
        return None
    own = fields[b"stream"].decode()
    if stream not in (Stream.ALL, own):
        return Piece(own, offset, b"")
    first = int(fields[b"all" if stream == Stream.ALL else b"offset"])
    return None if first > offset else Piece(own, offset, fields[b"data"][offset - first :])
