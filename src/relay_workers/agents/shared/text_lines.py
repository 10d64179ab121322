"""Split a stream of bytes, which arrives in pieces of any size, into lines of text."""

from collections.abc import Iterator

MAX_LINE_BYTES = 64 << 10
"""Maximum number of bytes kept of a line; the rest of a longer line is dropped."""


class TextLines:
    """Splits a stream into lines without their line ends (newline, or carriage return and newline).

    Args:
        max_line_bytes: number of bytes kept of a line; the rest of a longer line is dropped.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes of the stream and yield the lines that end within them."""
        *ended, tail = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield self._line()
        self._hold(tail)

    def finish(self) -> Iterator[str]:
        """Yield the last line of the stream if no line end follows it."""
        if self._held:
            yield self._line()

    def _hold(self, piece: bytes) -> None:
        self._held += piece[: max(0, self._max - len(self._held))]

    def _line(self) -> str:
        line = self._held.decode(errors="replace").removesuffix("\r")
        self._held.clear()
        return line
