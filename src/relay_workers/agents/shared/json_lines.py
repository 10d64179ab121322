"""Parse a stream of bytes, which arrives in pieces of any size, as one JSON object per line."""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_LINE_BYTES = 16 << 20
"""Longest line that is parsed, in bytes. Some agents print lines of over 5 MB (the whole output of a tool, twice)."""

BIG_LINE_BYTES = 1 << 20
"""A line of more bytes is parsed only if it has at most `MAX_VALUES` values."""
MAX_VALUES = 200_000
"""Maximum number of JSON values in a big line: a parsed value takes many times the memory of its text."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_MARKS = (b",", b"[", b"{")


class JsonLines:
    """Splits a stream into lines and parses each line; skips lines that are not a JSON object.

    Args:
        max_line_bytes: longest accepted line; a longer line is skipped as a whole.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take the next bytes of the stream and yield the objects whose lines end within them."""
        *ended, tail = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield from self.finish()
        self._hold(tail)

    def finish(self) -> Iterator[dict[str, Any]]:
        """End the current line and yield its object; yield nothing if the line is not a JSON object."""
        line = b"".join(self._pieces)
        self._pieces, self._held, self._too_long = [], 0, False
        parsed = _parse(line)
        if parsed is not None:
            yield parsed

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._too_long or self._held > self._max:
            self._too_long = True
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    if len(line) > BIG_LINE_BYTES and _values(line) > MAX_VALUES:
        return None
    try:
        # ValueError: the syntax is wrong. RecursionError: the values are nested too deeply for the interpreter.
        parsed = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _values(line: bytes) -> int:
    """Return an estimate of the number of JSON values in a line: its commas and opening brackets outside of strings."""
    marks = sum(map(line.count, _MARKS))
    if marks <= MAX_VALUES:  # most lines: the estimate with those in strings is enough, and at once there
        return marks
    return sum(map(_STRING.sub(b"", line).count, _MARKS))
