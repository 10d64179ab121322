"""Bytes in, lines of text out, whatever the pieces in which they arrive."""

from collections.abc import Iterator

MAX_LINE_BYTES = 64 << 10
"""Of a longer line the beginning is kept."""


class TextLines:
    """Cuts a stream into lines without their ends; a carriage return before the end goes with it."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that end in ``data``."""
        *ended, tail = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield self._line()
        self._hold(tail)

    def finish(self) -> Iterator[str]:
        """A last line that has no end."""
        if self._held:
            yield self._line()

    def _hold(self, piece: bytes) -> None:
        self._held += piece[: max(0, self._max - len(self._held))]

    def _line(self) -> str:
        line = self._held.decode(errors="replace").removesuffix("\r")
        self._held.clear()
        return line
