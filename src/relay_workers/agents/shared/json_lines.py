"""Bytes in, JSON objects out: one object a line, whatever the pieces in which the lines arrive."""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_LINE_BYTES = 16 << 20
"""Longest line that is understood; agents print lines of over 5 MB (a tool's whole output, twice)."""

BIG_LINE_BYTES = 1 << 20
MAX_VALUES = 200_000
"""Most values of a line that is longer: each takes many times the memory of the bytes that it is written with."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class JsonLines:
    """Cuts a stream into lines and parses each; what is no JSON object is passed over.

    Holds at most `MAX_LINE_BYTES`: of a longer line nothing is kept, and the next one counts again.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects whose lines end in ``data``."""
        *ended, tail = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield from self.finish()
        self._hold(tail)

    def finish(self) -> Iterator[dict[str, Any]]:
        """The object of a last line that has no newline, if it is one."""
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
        # Depth is the only thing besides syntax that can go wrong; the interpreter stops it with RecursionError.
        parsed = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _values(line: bytes) -> int:
    """About how many values a line holds: what stands between its strings tells."""
    between = _STRING.sub(b"", line)
    return sum(map(between.count, (b",", b"[", b"{")))
