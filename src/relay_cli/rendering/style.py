"""Colours of the command's own text, and the width of its lines."""

import os
import shutil
from dataclasses import dataclass
from typing import IO

from rich.cells import cell_len, set_cell_size

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
_STATUS_COLOURS = {
    "queued": "yellow",
    "running": "cyan",
    "success": "green",
    "completed": "green",
    "failure": "red",
    "failed": "red",
    "timed_out": "red",
    "lost": "magenta",
    "cancelled": "yellow",
    "killed": "yellow",
}


@dataclass(frozen=True)
class Style:
    """How the command prints: with or without colours, and how wide a line may be.

    Attributes:
        colour: whether text gets colours.
        width: cells of a line; None if nothing is shortened, because no terminal shows it.
    """

    colour: bool = False
    width: int | None = None

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour (`bold`, `dim`, `red`, …); unchanged without colours."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and text else text

    def paint_status(self, text: str, status: str) -> str:
        """Return a text in the colour of a status or conclusion."""
        return self.paint(text, _STATUS_COLOURS[status]) if status in _STATUS_COLOURS else text


def style_of(stream: IO[str]) -> Style:
    """Return the style for a stream of this process: colours on a terminal only, and not if NO_COLOR is set.

    A terminal's width limits the lines. Elsewhere only a width in COLUMNS does.
    """
    terminal = stream.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    wide = terminal or os.environ.get("COLUMNS", "").isdecimal()
    return Style(colour, max(40, shutil.get_terminal_size().columns) if wide else None)


def fitted(text: str, cells: int) -> str:
    """Return a text that takes exactly ``cells`` cells: filled with blanks, or cut, with `…` as its last character."""
    if cell_len(text) <= cells:
        return set_cell_size(text, cells)
    return set_cell_size(text, max(0, cells - 1)) + "…"[:cells]


def shortened(text: str, cells: int) -> str:
    """Return a text that takes at most ``cells`` cells; a longer one is cut and ends with `…`."""
    return fitted(text, cells) if cell_len(text) > cells else text
