"""What a person or a program gets to see: tables, JSON, and log bytes that cannot play tricks on a terminal."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
"""The option of every command that prints."""

_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC with their text
    rb"|[ -/]*[0-~])"
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_CONTROLS = re.compile(rb"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_LONGEST_SEQUENCE = 4096
_WIDE = 400
"""Ids are there to be copied: a table is never narrowed, a narrow terminal wraps it."""


class Sanitizer:
    """Drops control sequences other than colours from a stream, whatever its pieces; keeps tab, CR, LF, BS."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may be shown of ``data`` and of what was held back before."""
        data = self._held + data
        self._held = b""
        unfinished = _UNFINISHED.search(data)
        if unfinished and len(data) - unfinished.start() <= _LONGEST_SEQUENCE:
            self._held = data[unfinished.start() :]
            data = data[: unfinished.start()]
        shown = _SEQUENCE.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else b"", data)
        return _CONTROLS.sub(b"", shown)


class LogWriter:
    """Writes log bytes to a stream of this process, sanitised where it is a terminal."""

    def __init__(self, target: BinaryIO, *, terminal: bool) -> None:
        self._target = target
        self._sanitizer = Sanitizer() if terminal else None

    def write(self, data: bytes) -> None:
        """Show ``data`` at once."""
        self._target.write(self._sanitizer.feed(data) if self._sanitizer else data)
        self._target.flush()


def log_writers(*, raw: bool = False) -> dict[str, LogWriter]:
    """Where each stream of a log goes: stdout to stdout, stderr to stderr."""
    return {
        "stdout": LogWriter(sys.stdout.buffer, terminal=sys.stdout.isatty() and not raw),
        "stderr": LogWriter(sys.stderr.buffer, terminal=sys.stderr.isatty() and not raw),
    }


def note(message: str) -> None:
    """Progress, for people: on stderr, so that stdout stays what the command is about."""
    print(f"relay: {message}", file=sys.stderr, flush=True)


def show(value: Any, *, as_json: bool) -> None:
    """One thing: JSON, or a line for each field that says something."""
    if as_json:
        print(json.dumps(value, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, field in value.items():
        if field not in (None, [], {}):
            text = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
            table.add_row(name, text, style=None)
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
    return Sanitizer().feed(str(value).encode()).decode()


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
