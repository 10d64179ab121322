"""The report of `relay doctor`: a line for each check, and below it what to do."""

import textwrap
from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from relay_cli.rendering.style import Style
from relay_cli.rendering.units import plural
from relay_core.console.terminal_text import safe_line

WIDTH = 78
"""Cells of a line where no terminal says how wide it is."""
_LEAST = 30
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def check_lines(checks: Sequence[Mapping[str, str | None]], style: Style) -> list[str]:
    """Return the lines about checks: level, name and what was found, wrapped, and what to do below it.

    The last line counts the errors and warnings.

    Args:
        checks: {level, check, message, what_to_do} of each check.
        style: colours and width.
    """
    if not checks:
        return ["no check was made"]
    rows = [{name: safe_line(text or "") for name, text in check.items()} for check in checks]
    levels, names = (max(cell_len(row[name]) for row in rows) for name in ("level", "check"))
    lines = []
    for row in rows:
        begin = f"{row['level'].ljust(levels)}  {row['check'].ljust(names)}  "
        room = max(_LEAST, (style.width or WIDTH) - len(begin))
        found = _wrapped(row["message"], room)
        advice = _wrapped(f"what to do: {row['what_to_do']}", room) if row["what_to_do"] else []
        first, *more = [*found, *advice]
        level = style.paint(row["level"], _COLOURS.get(row["level"], "bold"))
        lines.append((level + begin[len(row["level"]) :] + first).rstrip())
        lines += [" " * len(begin) + text for text in more]
    return [*lines, "", _sum([row["level"] for row in rows])]


def _wrapped(text: str, room: int) -> list[str]:
    """Return the lines of a text; a word that is longer than a line, such as a path, stays whole."""
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _sum(levels: Sequence[str]) -> str:
    counted = [(levels.count(level), level) for level in ("error", "warning")]
    found = ", ".join(plural(count, level) for count, level in counted if count)
    return f"{plural(len(levels), 'check')}: {found or 'all is well'}"
