"""Splits a patch that git wrote into one part for each file."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

_FILE = re.compile(rb"^diff --git ", re.MULTILINE)
"""Matches the beginning of a file's part.

Content cannot match: lines of text begin with another character, and lines of binary content have no space.
"""
_BINARY = re.compile(rb"^GIT binary patch\n", re.MULTILINE)
_INDEX = re.compile(rb"^index ([0-9a-f]{40})\.\.([0-9a-f]{40})", re.MULTILINE)
_PATHS = (
    re.compile(rb"^(?:rename|copy) to (.+)$", re.MULTILINE),
    re.compile(rb'^\+\+\+ ("?)b/(.+?)\t?$', re.MULTILINE),
    re.compile(rb'^--- ("?)a/(.+?)\t?$', re.MULTILINE),
    re.compile(rb'^diff --git ("?)a/(.+)\1 \1b/\2\1$', re.MULTILINE),
)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_NO_BLOB = "0" * 40


class FilePart(NamedTuple):
    """The part of a patch that belongs to one file.

    Attributes:
        start: offset of its first byte in the patch.
        end: offset after its last byte.
    """

    start: int
    end: int
    path: str
    """Path after the change, or before it for a removed file. Bytes that are not UTF-8 are replaced."""
    binary_at: int | None
    """Offset in the patch where the file's binary content begins; None for a text file."""
    blobs: tuple[str, ...]
    """Git's object ids of the file's content before and after the change; a side without the file is left out."""


def file_parts(patch: bytes) -> Iterator[FilePart]:
    """Yield the part of each file in a patch, in order; together the parts are the whole patch."""
    starts = [found.start() for found in _FILE.finditer(patch)]
    for start, end in itertools.pairwise([*starts, len(patch)]):
        hunk = patch.find(b"\n@@ ", start, end)
        binary = _BINARY.search(patch, start, end if hunk < 0 else hunk)
        head = patch[start : binary.start() if binary else end if hunk < 0 else hunk + 1]
        index = _INDEX.search(head)
        names = tuple(name.decode() for name in index.groups()) if index else ()
        blobs = tuple(name for name in names if name != _NO_BLOB)
        yield FilePart(start, end, _path(head), binary.start() if binary else None, blobs)


def _path(head: bytes) -> str:
    for pattern in _PATHS:
        if found := pattern.search(head):
            *quote, name = found.groups()
            quoted = bool(quote and quote[0]) or name.startswith(b'"')
            return _unquoted(name.strip(b'"')) if quoted else name.decode(errors="replace")
    return head.split(b"\n", 1)[0].decode(errors="replace")


def _unquoted(name: bytes) -> str:
    """Undo git's quoting of a path with unusual bytes.

    Git writes some bytes as escapes of C, other bytes as octal numbers.
    """

    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, name).decode(errors="replace")
