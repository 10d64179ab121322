"""Turns a patch into files and lines for the page. No input or output."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay_core.domain.git.patches import file_parts

MOST_FILES = 300
MOST_LINES = 2000
"""Most lines that are shown of one file."""
MOST_LINES_OF_ALL = 10_000
OPEN_LINES = 400
"""A file with more lines is shown closed."""
LONGEST_LINE = 2000

_HUNK = re.compile(rb"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True)
class Line:
    """One line of a file's part of a patch."""

    kind: str
    """`add`, `del`, `hunk` or `same`; the style has colours for them."""
    text: str
    old: str = ""
    """Number of the line before the change; empty if it was not there."""
    new: str = ""


@dataclass
class FileView:
    """The part of a patch that belongs to one file."""

    path: str
    binary: bool = False
    insertions: int = 0
    deletions: int = 0
    lines: list[Line] = field(default_factory=list)
    cut: int = 0
    """Number of lines that are not shown."""

    @property
    def open(self) -> bool:
        """Whether the file is short enough to be shown at once."""
        return len(self.lines) + self.cut <= OPEN_LINES


def file_views(patch: bytes) -> tuple[list[FileView], int]:
    """Return the files of a patch, and the number of further files, which are left out of a very large patch."""
    shown: list[FileView] = []
    left, more = MOST_LINES_OF_ALL, 0
    for part in file_parts(patch):
        if len(shown) == MOST_FILES:
            more += 1
            continue
        view = FileView(part.path, binary=part.binary_at is not None)
        if not view.binary:
            for line in _lines(patch[part.start : part.end]):
                view.insertions += line.kind == "add"
                view.deletions += line.kind == "del"
                if len(view.lines) < MOST_LINES and left:
                    view.lines.append(line)
                    left -= 1
                else:
                    view.cut += 1
        shown.append(view)
    return shown, more


def _lines(part: bytes) -> Iterator[Line]:
    old = new = 0
    inside = False
    for raw in part.removesuffix(b"\n").split(b"\n"):
        begin = _HUNK.match(raw)
        text = raw[:LONGEST_LINE].decode(errors="replace") + ("…" if len(raw) > LONGEST_LINE else "")
        if begin:
            old, new, inside = int(begin[1]), int(begin[2]), True
            yield Line("hunk", text)
        elif not inside:
            if raw.startswith((b"new file", b"deleted file", b"rename ", b"old mode", b"new mode")):
                yield Line("hunk", text)
        elif raw.startswith(b"+"):
            yield Line("add", text, new=str(new))
            new += 1
        elif raw.startswith(b"-"):
            yield Line("del", text, old=str(old))
            old += 1
        elif raw.startswith(b"\\"):
            yield Line("hunk", text)
        else:
            yield Line("same", text, str(old), str(new))
            old, new = old + 1, new + 1
