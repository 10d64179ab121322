"""The format of a part of a workspace: records, of which each is a line of JSON and maybe bytes; compressed with zstd.

A record is ``{"kind": …, "bytes": N, …}`` as JSON on one line, a newline, and N bytes. A part has whole records only,
and is bounded, so a target reads one with bounded memory, whichever client has made it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import zstandard

from relay_core.domain.errors import Conflict, InvalidInput

PART_BYTES: Final = 4 << 20
"""A part gets no further record once it has so many bytes before compression."""
MOST_BYTES: Final = 16 << 20
"""Most bytes of a part, compressed or not."""
PIECE_BYTES: Final = 1 << 20
"""Most bytes of one record behind its line."""
_LINE_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Record:
    """One record of a part."""

    kind: str
    fields: Mapping[str, Any]
    """Its JSON, without `kind` and `bytes`; ids and times are texts after reading."""
    data: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """About how many bytes it takes in a part."""
        return len(self.data) + len(_line(self))


def packed(records: Iterable[Record]) -> bytes:
    """Return the records as one part.

    Raises:
        Conflict: `workspace_too_large`: a target would refuse it.
    """
    lines = [(record, _line(record) + b"\n") for record in records]
    for record, line in lines:
        if len(line) > _LINE_BYTES:
            message = f"a record {record.kind!r} has {len(line)} bytes; at most {_LINE_BYTES} can be moved"
            raise Conflict(message, code="workspace_too_large")
    plain = b"".join(line + record.data for record, line in lines)
    if len(plain) > MOST_BYTES:
        message = f"rows of the workspace have {len(plain)} bytes together; a part has at most {MOST_BYTES}"
        raise Conflict(message, code="workspace_too_large")
    return zstandard.ZstdCompressor(level=3).compress(plain)


def unpacked(part: bytes) -> Iterator[Record]:
    """Return the records of a part.

    Raises:
        InvalidInput: `import_damaged`: it is no part, or it is larger than a part may be.
    """
    return records_of(decompressed(part, MOST_BYTES))


def records_of(plain: bytes) -> Iterator[Record]:
    """Yield the records of a part that is decompressed.

    Raises:
        InvalidInput: `import_damaged`: it is no part.
    """
    at = 0
    while at < len(plain):
        end = plain.find(b"\n", at, at + _LINE_BYTES)
        if end < 0:
            raise damaged("a record has no end")
        try:
            found = json.loads(plain[at:end])
            kind, size = found.pop("kind"), found.pop("bytes")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise damaged("a record is no JSON object with kind and bytes") from error
        if not (isinstance(kind, str) and type(size) is int and 0 <= size <= len(plain) - end - 1):
            raise damaged("a record says another size than it has")
        at = end + 1 + size
        yield Record(kind, found, plain[end + 1 : at])


def decompressed(frame: bytes, most: int) -> bytes:
    """Return the bytes of one zstd frame that says its size.

    Raises:
        InvalidInput: `import_damaged`: it is no such frame, or has more than ``most`` bytes.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= most:
            raise damaged(f"a compressed text has more than {most} bytes, or does not say how many")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise damaged("it cannot be decompressed") from error


def digest(part: bytes) -> str:
    """Return the SHA-256 of a part, in hex."""
    return hashlib.sha256(part).hexdigest()


def damaged(why: str) -> InvalidInput:
    """Return the error of a part that cannot be read."""
    return InvalidInput(f"a part of the workspace is damaged: {why}; migrate it again", code="import_damaged")


def _line(record: Record) -> bytes:
    content = {"kind": record.kind, "bytes": len(record.data), **record.fields}
    return json.dumps(content, default=_text, ensure_ascii=False, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a record cannot hold a {type(value).__name__}")
