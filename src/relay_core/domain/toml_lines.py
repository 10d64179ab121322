"""The lines on which the keys of a TOML text begin. `tomllib` tells lines of syntax errors only."""

import re
from collections.abc import Mapping

KeyPath = tuple[str, ...]

_HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_FENCES = ('"""', "'''")


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line, counted from 1, on which each key and table of a TOML text begins.

    The text is valid TOML. Keys inside of inline tables are left out; ask for the line of the key that holds the table.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if header := _HEADER.match(line):
            table = _path(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *_path(key[1]))
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
            fence = _opened(key[2].lstrip())
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or else that of the table around it; 1 if neither is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _path(text: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def _opened(value: str) -> str:
    """Return the quotes of a multi-line string that begins in a value and does not end on its line; else ''."""
    return next((fence for fence in _FENCES if value.startswith(fence) and fence not in value[3:]), "")
