"""Write log bytes and notes to standard output and standard error; output to a terminal is made safe first."""

import sys
from typing import BinaryIO

from relay_core.console.terminal_text import RESET, TerminalText, indented


class LogWriter:
    """Writes log bytes to a stream of this process.

    Args:
        target: the stream to write to.
        terminal: True if the stream is a terminal: bytes then pass through `TerminalText`. Otherwise they are written
            unchanged.
    """

    def __init__(self, target: BinaryIO, *, terminal: bool) -> None:
        self._target = target
        self._filter = TerminalText() if terminal else None

    def write(self, data: bytes) -> None:
        """Write ``data`` and flush the stream."""
        self._target.write(self._filter.feed(data) if self._filter else data)
        self._target.flush()


def log_writers() -> dict[str, LogWriter]:
    """Return a writer for each stream of a log: `stdout` writes to standard output, `stderr` to standard error."""
    return {
        "stdout": LogWriter(sys.stdout.buffer, terminal=sys.stdout.isatty()),
        "stderr": LogWriter(sys.stderr.buffer, terminal=sys.stderr.isatty()),
    }


def note(message: str) -> None:
    """Print progress or a problem for people on standard error, as `relay: MESSAGE`.

    Standard output carries only the command's answer. On a terminal the colours are reset first, because log output
    may have left a colour in which text is invisible.
    """
    before = RESET if sys.stderr.isatty() else ""
    sys.stderr.write(f"{before}relay: {indented(message)}\n")
    sys.stderr.flush()
