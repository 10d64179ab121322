"""Print the results of commands as tables, fields or JSON, with text of unknown origin made safe for a terminal."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from relay_core.console.terminal_text import RESET, safe, safe_line

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
"""The option `--json` of every command that prints a result."""


def show(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object as JSON, or as text with a name and a value for each field that is not empty.

    A value is never cut; a narrow terminal wraps it.
    """
    if as_json:
        print(json.dumps(value, indent=2))
        return
    fields = {safe_line(name): field for name, field in value.items() if field not in (None, [], {})}
    width = max(map(cell_len, fields), default=0)
    for name, field in fields.items():
        text = safe(field if isinstance(field, str) else json.dumps(field, ensure_ascii=False))
        print(f"{set_cell_size(name, width)}  {text}".replace("\n", "\n" + " " * (width + 2)))


def say(*lines: str) -> None:
    """Print lines for people on standard error, as one message of `relay:`.

    Unlike `note`, it keeps colours, so every text of unknown origin in ``lines`` must be safe for a terminal already.
    """
    before = RESET if sys.stderr.isatty() else ""
    sys.stderr.write(f"{before}relay: " + "\n  ".join("\n".join(lines).splitlines()) + "\n")
    sys.stderr.flush()


def show_list(items: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a list as a JSON array of whole items, or as a table of the given columns.

    A cell is never cut, because people copy ids from the table.
    """
    rows = list(items)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = [list(columns), *([cell_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(set_cell_size(cell, width) for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip())  # blanks at the end would make a narrow terminal begin another line


def cell_text(value: Any) -> str:
    """Return the text of a table cell: `-` for None, a timestamp in local time, any other value on one safe line."""
    if value is None:
        return "-"
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return safe_line(str(value))
