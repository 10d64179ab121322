"""An agent's tool call for people: its kind, what it was asked, its exit code, and the lines that an edit changes."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from relay_cli.rendering.style import Style

RESULT_LINES = 12
"""Most lines of a tool's result that are shown; of further lines only the number is shown."""
EDIT_LINES = 40
"""Most lines of an edit that are shown."""
INPUT_CHARACTERS = 300
"""Most characters of a tool's input that are shown."""
_KINDS = (
    ("run", ("command", "cmd", "script")),
    ("search", ("pattern", "query", "regex")),
    ("fetch", ("url",)),
    ("read", ("file_path", "filePath", "absolute_path", "path", "notebook_path")),
)
"""Kind of a call → input fields of which such a call has one; the first kind that fits is taken."""
_BEFORE = ("old_string", "oldString", "old_str", "old_text", "oldText")
_AFTER = ("new_string", "newString", "new_str", "new_text", "newText", "new_source")
_WHOLE = ("content", "contents", "file_text")
_PATCH = ("patch", "patchText", "diff", "unified_diff", "input")
_EXIT_CODE = re.compile(
    r"^\W*(?:exit[ _]code|exit status|returncode)\W{1,3}(-?\d{1,10})\b", re.IGNORECASE | re.MULTILINE
)


def call_lines(tool: Mapping[str, Any], style: Style) -> list[str]:
    """Return the lines of a tool call: kind, name and input, then for an edit its lines, then the result.

    Args:
        tool: the field `tool` of a conversation's entry.
        style: colours.
    """
    given = _parsed(tool["input"])
    edit = edit_lines(given) if tool["paths"] else []
    lines = [_head(tool, given, style), *(_painted(line, style) for line in _cut(edit, EDIT_LINES))]
    if tool["status"] == "running":
        return lines
    return lines + _result(tool, style, hide_result=bool(edit) and tool["status"] == "completed")


def kind_of(tool: Mapping[str, Any]) -> str:
    """Return the kind of a call: `edit`, `run`, `search`, `fetch`, `read`, or `call` for any other."""
    if tool["paths"]:
        return "edit"
    given = _parsed(tool["input"])
    fields = given.keys() if isinstance(given, dict) else set()
    return next((kind for kind, names in _KINDS if not fields.isdisjoint(names)), "call")


def edit_lines(given: object) -> list[str]:
    """Return the lines that an edit removes (`-`) and adds (`+`), as its input tells them; empty if it does not.

    Args:
        given: the input of the call: an object with the old and new text, whole content or a patch, or a list of such.
    """
    if isinstance(given, list):
        return [line for part in given for line in edit_lines(part)]
    if isinstance(given, str):
        return given.splitlines() if given.lstrip().startswith(("---", "diff ", "@@", "*** ")) else []
    if not isinstance(given, dict):
        return []
    before, after, whole = _text(given, _BEFORE), _text(given, _AFTER), _text(given, _WHOLE)
    if before is not None or after is not None:
        return list(_changed(before or "", after or ""))
    if whole is not None:
        return [f"+{line}" for line in whole.splitlines()]
    patch = next((lines for name in _PATCH if (lines := edit_lines(given.get(name)))), [])
    return patch or [line for name in ("edits", "changes") for line in edit_lines(_listed(given.get(name)))]


def exit_code(tool: Mapping[str, Any]) -> int | None:
    """Return the exit code that the first lines or the last line of a call's result tell; None if they tell none."""
    lines = tool["result"].strip().splitlines()
    found = _EXIT_CODE.search("\n".join([*lines[:3], *lines[-1:]]))
    return int(found[1]) if found else None


def _head(tool: Mapping[str, Any], given: object, style: Style) -> str:
    kind = kind_of(tool)
    summary = ", ".join(tool["paths"]) or _input_summary(given)
    return style.paint(f"> {kind} ({tool['name']})", "bold") + f": {summary}"


def _result(tool: Mapping[str, Any], style: Style, *, hide_result: bool) -> list[str]:
    code = exit_code(tool)
    says = {"failed": "failed", "interrupted": "interrupted"}.get(tool["status"])
    words = ", ".join([*([says] if says else []), *([f"exit code {code}"] if code is not None else [])])
    mark = [style.paint(f"  ({words})", "red" if says else "dim")] if words else []
    told = tool["result"].strip("\n").splitlines()
    if told and told[0] == f"Exit code {code}":
        told = told[1:]  # the mark says it
    lines = [] if hide_result else _cut(told, RESULT_LINES)
    return [*mark, *(f"  {line}" for line in lines)]


def _painted(line: str, style: Style) -> str:
    colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
    return "  " + style.paint(line, colour)


def _cut(lines: list[str], most: int) -> list[str]:
    more = [f"… {len(lines) - most} more lines"] if len(lines) > most else []
    return [*lines[:most], *more]


def _changed(before: str, after: str) -> Iterator[str]:
    """Yield the lines of a diff with two lines of context, without its heading."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))


def _text(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((given[name] for name in names if isinstance(given.get(name), str)), None)


def _listed(value: object) -> list[Any]:
    """Return the parts of an edit; an object with a path for each part gives its values."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _parsed(tool_input: str) -> object:
    try:
        return json.loads(tool_input)
    except (ValueError, RecursionError):
        return tool_input


def _input_summary(given: object) -> str:
    if isinstance(given, dict):
        known = [given[name] for _, names in _KINDS for name in names if name in given]
        given = known[0] if known else given
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        given = " ".join(given)
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    line = text.strip().replace("\n", "; ")
    return line if len(line) <= INPUT_CHARACTERS else line[: INPUT_CHARACTERS - 1] + "…"
