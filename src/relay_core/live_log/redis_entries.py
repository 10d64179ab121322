"""What the live tail of a log looks like in Redis; written by `live_publish`, read by `live_follow`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from relay_core.domain.logs.append import Stored
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import Piece

ENTRY_BYTES = 32 << 10
"""Largest entry."""
BURST_BYTES = 256 << 10
"""Most bytes of one execution published out of one batch, the newest; for those before, readers go to Postgres."""


class Entry(NamedTuple):
    """An entry of the Redis stream of an execution."""

    stream: str
    offset: int
    all_offset: int
    data: bytes

    @property
    def entry_id(self) -> str:
        """Grows with the log: the offset of its end in `all`."""
        return id_after(self.all_offset + len(self.data))

    @property
    def fields(self) -> dict[str, bytes | str | int]:
        """As it is sent."""
        return {"stream": self.stream, "offset": self.offset, "all": self.all_offset, "data": self.data}


def key(execution_id: UUID) -> str:
    """Name of an execution's stream."""
    return f"relay:log:{execution_id}"


def id_after(all_bytes: int) -> str:
    """The id behind which all entries are that a reader of the first ``all_bytes`` bytes does not know."""
    return f"{all_bytes}-0"


def entries(stored: Sequence[Stored]) -> list[Entry]:
    """The entries for some chunks of one execution; of more than `BURST_BYTES` only the newest."""
    found: list[Entry] = []
    room = BURST_BYTES
    for one in reversed(stored):
        for piece in _pieces_from_the_end(one):
            if len(piece.data) > room:
                return found[::-1]
            room -= len(piece.data)
            found.append(piece)
    return found[::-1]


def _pieces_from_the_end(stored: Stored) -> Iterator[Entry]:
    append = stored.append
    for at in reversed(range(0, len(append.data), ENTRY_BYTES)):
        yield Entry(append.stream, append.start + at, stored.all_offset + at, append.data[at : at + ENTRY_BYTES])


def piece_for(fields: Mapping[bytes, bytes], stream: str, offset: int) -> Piece | None:
    """What an entry holds for a reader of ``stream`` at ``offset``.

    Returns:
        New bytes; an empty piece where it holds none; None where Postgres must be asked first (a gap, or the end mark).
    """
    if b"data" not in fields:
        return None
    own = fields[b"stream"].decode()
    if stream not in (Stream.ALL, own):
        return Piece(own, offset, b"")
    first = int(fields[b"all" if stream == Stream.ALL else b"offset"])
    return None if first > offset else Piece(own, offset, fields[b"data"][offset - first :])
