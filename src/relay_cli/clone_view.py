"""Show the log of a clone: progress of fetch and image pull as bars on a terminal, and as lines elsewhere."""

import re
from typing import Protocol

from relay_cli.log_stream import Writer
from relay_cli.rendering.progress import Progress, read_progress

_LINE_ENDS = re.compile(rb"(?<=[\r\n])")
_LONGEST_LINE = 64 << 10
_OF_RELAY = "relay: "
_AT_ONCE = re.compile(r"relay: (?:cloning |pulling |image \S+ \(|workspace is ready )")
"""Beginnings of Relay's own lines that are no error message."""


class Lines(Protocol):
    """Shows the lines and the progress of a clone."""

    def line(self, text: str) -> None:
        """Show a line."""

    def progress(self, text: str, progress: Progress) -> None:
        """Show a state of the progress; ``text`` is its line in the log."""

    def close(self) -> None:
        """Remove what shows progress."""


class PlainLines:
    """Shows each line and each state of the progress as a line.

    Args:
        target: gets the lines.
    """

    def __init__(self, target: Writer) -> None:
        self._target = target

    def line(self, text: str) -> None:
        """Write a line."""
        self._target.write(text.encode(errors="replace") + b"\n")

    def progress(self, text: str, progress: Progress) -> None:
        """Write the state as a line."""
        del progress
        self.line(text)

    def close(self) -> None:
        """Do nothing: lines stay."""


class CloneView:
    """Takes the bytes of a clone's log and shows its lines.

    A message of Relay's own is kept back until the next line, as it may be the error that the command repeats.

    Args:
        lines: shows them.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rest = b""
        self._kept: list[str] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes of the log; they may begin and end in the middle of a line."""
        *whole, self._rest = _LINE_ENDS.split(self._rest + data)
        for line in whole:
            self._take(line.decode(errors="replace").rstrip())
        if len(self._rest) > _LONGEST_LINE:
            self._take(self._rest.decode(errors="replace"))
            self._rest = b""

    def end(self, error: str | None) -> None:
        """Show the rest. Called at the end of the log, and when the command stops following it.

        Args:
            error: the clone's error message, which the command itself shows; None if there is none.
        """
        if self._rest:
            self._take(self._rest.decode(errors="replace"))
            self._rest = b""
        told = "\n".join(self._kept).removeprefix(_OF_RELAY).strip()
        if not (error and told and (error.strip().startswith(told) or told.startswith(error.strip()))):
            self._release()
        self._kept = []
        self._lines.close()

    def _take(self, line: str) -> None:
        progress = read_progress(line)
        if progress is not None:
            self._release()
            self._lines.progress(line, progress)
        elif _AT_ONCE.match(line):
            self._release()
            self._lines.line(line)
        elif line.startswith(_OF_RELAY):
            self._release()
            self._kept.append(line)
        elif self._kept:
            self._kept.append(line)  # an error of several lines
        elif line:
            self._lines.line(line)

    def _release(self) -> None:
        for line in self._kept:
            self._lines.line(line)
        self._kept = []
