"""Cuts the torn last line off a file of JSON lines, which a program or a machine left that died while it wrote.

The file is in a directory to which a container can write, so no link is followed. All files of one search together are
bounded: their number, how much of them is read, and how much is copied. Files are read and copied in pieces.

A search copies torn lines and changes no file. `TornFile.mend` then needs no time: only it has to keep writers away.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

MOST_NAMES = 20_000
"""Most names of directory entries that a search looks at."""
MOST_FILES = 16
"""Most files that a search finds torn."""
MOST_BYTES = 256 << 20
"""Size of all files of a search above which those that come later are left as they are."""
MOST_COPIED = 32 << 20
"""Size of all torn lines of a search above which those that come later are left as they are."""
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


@dataclass(frozen=True)
class TornFile:
    """An open file whose last line is not whole, or lacks only its end."""

    fd: int
    size: int
    changed_ns: int
    """When it was changed last, as its status says."""
    torn: TornLine | None
    """The torn line, which is copied already; None: the line lacks only its end."""

    def mend(self) -> TornLine | None:
        """Cut the torn line off, or end the last line; leave a file as it is that has changed since it was read.

        Returns:
            What was cut; None: nothing was.

        Raises:
            OSError: the file cannot be changed.
        """
        status = os.fstat(self.fd)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed_ns):
            return None
        if self.torn is None:  # without the end, the next line would be added to this one
            os.pwrite(self.fd, b"\n", self.size)
            return None
        os.ftruncate(self.fd, self.torn.offset)
        os.fsync(self.fd)
        return self.torn


@dataclass
class _Left:
    """The numbers that are left to a search."""

    names: int
    read_bytes: int
    copied_bytes: int


@contextmanager
def torn_files(
    root: Path, parts: Sequence[str], pattern: Sequence[str], owner: int | None
) -> Iterator[Sequence[TornFile]]:
    """Copy the torn last line of each file that matches to a file beside it; yield these files, open, to be mended.

    Args:
        root: a directory that no container can replace.
        parts: names of directories below it that lead to where the pattern begins.
        pattern: names of directories and, last, of the file (`fnmatch`).
        owner: user id to whom the new file belongs; None: the user of this process.

    Raises:
        OSError: a torn line was found, and cannot be copied.
    """
    left = _Left(MOST_NAMES, MOST_BYTES, MOST_COPIED)
    found: list[TornFile] = []
    with ExitStack() as files:
        with suppress(FileNotFoundError, TamperedFile), SafeDir.open(root, *parts) as top:
            for directory, shown, name in _matching(top, "/".join(parts), pattern, left):
                with suppress(FileNotFoundError, TamperedFile):
                    torn = _look(directory, shown, name, owner, left)
                    if torn is not None:
                        files.callback(os.close, torn.fd)
                        found.append(torn)
                if len(found) == MOST_FILES:
                    break
        yield found


def _matching(here: SafeDir, shown: str, pattern: Sequence[str], left: _Left) -> Iterator[tuple[SafeDir, str, str]]:
    """Yield the directory, its path and the name of each entry that matches, while few enough names were looked at."""
    wanted, *below = pattern
    for name in sorted(here.names()):
        left.names -= 1
        if left.names < 0:
            return
        if not fnmatchcase(name, wanted):
            continue
        if not below:
            yield here, shown, name
            continue
        with suppress(FileNotFoundError, TamperedFile), here.sub(name) as inner:
            yield from _matching(inner, f"{shown}/{name}", below, left)


def _look(directory: SafeDir, shown: str, name: str, owner: int | None, left: _Left) -> TornFile | None:
    """Return a file that is to be mended, after its torn line was copied; None: it is whole, or left as it is."""
    fd, _ = directory.open_file(name, writable=True)
    with ExitStack() as unless_found:
        unless_found.callback(os.close, fd)
        status = os.fstat(fd)
        left.read_bytes -= status.st_size
        if not status.st_size or left.read_bytes < 0:
            return None
        offset = _begin_of_last_line(fd, status.st_size)
        torn = None
        if _is_object(fd, offset, status.st_size):
            if _read(fd, status.st_size - 1, 1) == b"\n":
                return None
        else:
            left.copied_bytes -= status.st_size - offset
            if left.copied_bytes < 0:
                return None
            torn = _copied(directory, shown, name, fd, offset, owner)
        unless_found.pop_all()
        return TornFile(fd, status.st_size, status.st_mtime_ns, torn)


def _copied(directory: SafeDir, shown: str, name: str, fd: int, offset: int, owner: int | None) -> TornLine:
    """Copy the end of a file to a file beside it."""
    status = os.fstat(fd)
    kept_as = f"{name}.torn-{offset}"
    with os.fdopen(directory.new_file(kept_as, owner, stat.S_IMODE(status.st_mode) & 0o666), "wb") as copy:
        for piece in _pieces(fd, offset, status.st_size):
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    line = 1 + sum(piece.count(b"\n") for piece in _pieces(fd, 0, offset))
    path = os.fsencode(f"{shown}/{name}").decode("utf-8", "replace")
    return TornLine(path, line, offset, status.st_size - offset, os.fsencode(kept_as).decode("utf-8", "replace"))


def _is_object(fd: int, begin: int, end: int) -> bool:
    """Return whether a line of a file is a whole JSON object."""
    if end - begin > MOST_PARSED:
        return _read(fd, end - _PIECE, _PIECE).rstrip().endswith(b"}")
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(_read(fd, begin, end - begin)), dict)
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


def _pieces(fd: int, begin: int, end: int) -> Iterator[bytes]:
    for at in range(begin, end, _PIECE):
        yield _read(fd, at, min(_PIECE, end - at))


def _read(fd: int, begin: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.pread(fd, size - len(data), begin + len(data))):
        data += piece
    return data
