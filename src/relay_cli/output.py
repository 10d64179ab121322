"""Everything that the commands print: tables, JSON and log bytes, all through `terminal` where people read it."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

from relay_cli.terminal import RESET, TerminalText, indented, safe, safe_line

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
"""The option of every command that prints."""

_WIDE = 400
"""Ids are there to be copied: a table is never narrowed, a narrow terminal wraps it."""


class LogWriter:
    """Writes log bytes to a stream of this process: filtered where it is a terminal, else as they are."""

    def __init__(self, target: BinaryIO, *, terminal: bool) -> None:
        self._target = target
        self._filter = TerminalText() if terminal else None

    def write(self, data: bytes) -> None:
        """Show ``data`` at once."""
        self._target.write(self._filter.feed(data) if self._filter else data)
        self._target.flush()


def log_writers() -> dict[str, LogWriter]:
    """Where each stream of a log goes: stdout to stdout, stderr to stderr."""
    return {
        "stdout": LogWriter(sys.stdout.buffer, terminal=sys.stdout.isatty()),
        "stderr": LogWriter(sys.stderr.buffer, terminal=sys.stderr.isatty()),
    }


def note(message: str) -> None:
    """Progress, for people: on stderr, so that stdout stays what the command is about."""
    before = (
        RESET if sys.stderr.isatty() else ""
    )  # a log may have left the terminal in any colour, or in none to be seen
    print(f"{before}relay: {indented(message)}", file=sys.stderr, flush=True)


def show(value: Any, *, as_json: bool) -> None:
    """One thing: JSON, or a line for each field that says something."""
    if as_json:
        print(json.dumps(value, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, field in value.items():
        if field not in (None, [], {}):
            text = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
            table.add_row(safe_line(name), safe(text), style=None)
    _console().print(table)


def show_list(items: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Many things: a JSON array, or a table."""
    rows = list(items)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(plain(row.get(column)) for column in columns))
    Console(highlight=False, markup=False, width=_WIDE).print(table)


def plain(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return safe_line(str(value))


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
