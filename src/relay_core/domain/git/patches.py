"""Splits a patch that git wrote into the parts of its files."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

_FILE = re.compile(rb"^diff --git ", re.MULTILINE)
"""Beginning of a file's part. Content cannot match: its lines begin with another character or hold no space."""
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
    """The part of a patch that belongs to one file: the bytes from `start` to `end`."""

    start: int
    end: int
    path: str
    """Path after the change, or before it for a removed file. Bytes that are no UTF-8 are replaced."""
    binary_at: int | None
    """Offset of the binary content in the patch; None for a text file."""
    blobs: tuple[str, ...]
    """Object names of the content before and after the change, without that of a content that does not exist."""


def file_parts(patch: bytes) -> Iterator[FilePart]:
    """The parts of all files in a patch, in order; together they are the whole patch."""
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
    """The path behind git's quoting of unusual bytes: escapes of C, and octal numbers for other bytes."""

    def plain(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, name).decode(errors="replace")
