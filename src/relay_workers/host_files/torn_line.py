"""Cuts the torn last line off a file of JSON lines, which a program or a machine left that died while it wrote.

The file is in a directory to which a container can write, so no link is followed, and its size is bounded.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

MOST_NAMES = 20_000
"""Most names of directory entries that the search for a file looks at."""
MOST_BYTES = 256 << 20
"""Size of a file above which it is left as it is."""
MOST_PARSED = 1 << 20
"""Length of a line above which only its end is looked at, as a parsed value takes many times its memory."""
_PIECE = 1 << 16


@dataclass(frozen=True)
class TornLine:
    """The last line of a file, which is not whole."""

    file: str
    """Path below the directory that was searched."""
    line: int
    """Its number, from 1."""
    offset: int
    """Number of bytes before it: the length of what is whole."""
    size: int
    """Its length in bytes."""
    kept_as: str
    """Name of the file beside it to which the line was moved."""


def cut_torn_lines(root: Path, parts: Sequence[str], pattern: Sequence[str], owner: int | None) -> list[TornLine]:
    """Move the torn last line of each file that matches to a file beside it, and return what was cut.

    Args:
        root: a directory that no container can replace.
        parts: names of directories below it that lead to where the pattern begins.
        pattern: names of directories and, last, of the file (`fnmatch`).
        owner: user id to whom the new file belongs; None: the user of this process.

    Raises:
        OSError: a torn line was found, and cannot be moved.
    """
    found: list[TornLine] = []
    left = [MOST_NAMES]
    with suppress(FileNotFoundError, TamperedFile), SafeDir.open(root, *parts) as top:
        for directory, shown, name in _matching(top, "/".join(parts), pattern, left):
            with suppress(FileNotFoundError, TamperedFile):
                torn = _cut(directory, shown, name, owner)
                found += [torn] if torn else []
    return found


def _matching(here: SafeDir, shown: str, pattern: Sequence[str], left: list[int]) -> Iterator[tuple[SafeDir, str, str]]:
    """Yield the directory, its path and the name of each entry that matches, while few enough names were looked at."""
    wanted, *below = pattern
    for name in sorted(here.names()):
        left[0] -= 1
        if left[0] < 0:
            return
        if not fnmatchcase(name, wanted):
            continue
        if not below:
            yield here, shown, name
            continue
        with suppress(FileNotFoundError, TamperedFile), here.sub(name) as inner:
            yield from _matching(inner, f"{shown}/{name}", below, left)


def _cut(directory: SafeDir, shown: str, name: str, owner: int | None) -> TornLine | None:
    fd, _ = directory.open_file(name, writable=True)
    try:
        status = os.fstat(fd)
        if not 0 < status.st_size <= MOST_BYTES:
            return None
        offset = _begin_of_last_line(fd, status.st_size)
        tail = _read(fd, offset, status.st_size - offset)
        if _is_object(tail):
            if not tail.endswith(
                b"\n"
            ):  # only its end is missing: without it, the next line would be added to this one
                os.pwrite(fd, b"\n", status.st_size)
            return None
        kept_as = f"{name}.torn-{offset}"
        directory.write_file(kept_as, tail, owner, stat.S_IMODE(status.st_mode) & 0o666)
        line = 1 + sum(piece.count(b"\n") for piece in _pieces(fd, offset))
        os.ftruncate(fd, offset)
        os.fsync(fd)
    finally:
        os.close(fd)
    path = os.fsencode(f"{shown}/{name}").decode("utf-8", "replace")
    return TornLine(path, line, offset, len(tail), os.fsencode(kept_as).decode("utf-8", "replace"))


def _is_object(line: bytes) -> bool:
    """Return whether a line is a whole JSON object."""
    if len(line) > MOST_PARSED:
        return line.rstrip().endswith(b"}")
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(line), dict)
    return False


def _begin_of_last_line(fd: int, size: int) -> int:
    """Return the offset at which the last line begins; a line end at the very end belongs to that line."""
    end = size - 1
    while end > 0:
        begin = max(0, end - _PIECE)
        at = _read(fd, begin, end - begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0


def _pieces(fd: int, end: int) -> Iterator[bytes]:
    for begin in range(0, end, _PIECE):
        yield _read(fd, begin, min(_PIECE, end - begin))


def _read(fd: int, begin: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.pread(fd, size - len(data), begin + len(data))):
        data += piece
    return data
