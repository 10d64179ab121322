"""The files that a patch of git changes, with the kind of the change and the numbers of lines."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from relay_core.domain.git.patches import file_parts

MOST_FILES = 2000
"""Most files that are told of one patch."""
Change = Literal["added", "deleted", "renamed", "copied", "mode", "modified"]
_HUNK = re.compile(rb"^@@ ", re.MULTILINE)
_WORDS: tuple[tuple[bytes, Change], ...] = (
    (b"new file mode ", "added"),
    (b"deleted file mode ", "deleted"),
    (b"rename from ", "renamed"),
    (b"copy from ", "copied"),
)


class ChangedFile(NamedTuple):
    """One file of a patch.

    Attributes:
        path: path after the change, or before it for a removed file.
        change: the kind of the change; `mode` if only the file's mode differs.
        insertions: added lines; 0 for a binary file.
        deletions: removed lines; 0 for a binary file.
        binary: whether the content is shown as binary.
    """

    path: str
    change: Change
    insertions: int
    deletions: int
    binary: bool


def changed_files(patch: bytes) -> Iterator[ChangedFile]:
    """Yield the files of a patch in its order, at most `MOST_FILES`; of a patch that was cut, those that are in it."""
    for number, part in enumerate(file_parts(patch)):
        if number == MOST_FILES:
            return
        text = patch[part.start : part.end]
        hunk = _HUNK.search(text)
        end = hunk.start() if hunk else len(text) if part.binary_at is None else part.binary_at - part.start
        head, lines = text[:end].splitlines(), text[end:].splitlines() if hunk else []
        insertions = sum(line.startswith(b"+") for line in lines)
        deletions = sum(line.startswith(b"-") for line in lines)
        binary = part.binary_at is not None
        yield ChangedFile(part.path, _change(head, changes=bool(lines) or binary), insertions, deletions, binary)


def _change(head: list[bytes], *, changes: bool) -> Change:
    for words, change in _WORDS:
        if any(line.startswith(words) for line in head):
            return change
    return "modified" if changes else "mode"
