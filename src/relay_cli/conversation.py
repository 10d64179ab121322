"""An agent's conversation as a person reads it: each entry once, text as it grows, calls with how they ended."""

import json
from collections.abc import Mapping
from typing import Any

from relay_core.console.output import LogWriter

RESULT_LINES = 12
"""Most lines of a tool's result that are shown."""
INPUT_CHARACTERS = 300
_TELLING = ("command", "cmd", "file_path", "path", "pattern", "query", "url")
"""Inputs of tools that say by themselves what a call is about."""


class ConversationWriter:
    """Shows entries as they come and change; the same state of an entry twice is shown once."""

    def __init__(self, target: LogWriter) -> None:
        self._target = target
        self._shown: dict[int, str] = {}
        """Entry → what of it stands there already."""
        self._open: int | None = None
        """The entry whose text stands at the end of the output, without a newline."""

    def show(self, entry: Mapping[str, Any]) -> None:
        """Show what is new of an entry."""
        number = entry["entry"]
        text = _text(entry)
        before = self._shown.get(number, "")
        if text == before:
            return
        self._shown[number] = text
        if before and self._open == number and text.startswith(before):
            self._write(text[len(before) :])
            return
        self.end()
        self._write(text.removeprefix(before).lstrip("\n") if before else text)
        self._open = number

    def end(self) -> None:
        """Finish the line."""
        if self._open is not None:
            self._write("\n")
            self._open = None

    def _write(self, text: str) -> None:
        self._target.write(text.encode(errors="replace"))


def _text(entry: Mapping[str, Any]) -> str:
    kind: str = entry["kind"]
    text: str = entry["text"]
    who = f"[{entry['agent']}] " if entry.get("agent") else ""
    if entry["tool"]:
        return _tool(entry["tool"], who)
    if kind == "usage":
        return "usage: " + ", ".join(f"{name} {value:g}" for name, value in (entry["usage"] or {}).items())
    prefix = who + {"reasoning": "(thinking) ", "error": "error: ", "notice": "notice: "}.get(kind, "")
    return prefix + text + (" […]" if entry["truncated"] else "")


def _tool(tool: Mapping[str, Any], who: str) -> str:
    about = ", ".join(tool["paths"]) or _about(tool["input"])
    head = f"> {who}{tool['name']}: {about}"
    if tool["status"] == "running":
        return head
    lines = tool["result"].strip("\n").splitlines()
    more = [f"… {len(lines) - RESULT_LINES} more lines"] if len(lines) > RESULT_LINES else []
    mark = {"failed": [f"({tool['status']})"], "interrupted": [f"({tool['status']})"]}.get(tool["status"], [])
    return "\n".join([head, *(f"  {line}" for line in [*mark, *lines[:RESULT_LINES], *more])])


def _about(given: str) -> str:
    try:
        value = json.loads(given)
    except ValueError:
        value = given
    if isinstance(value, dict):
        telling = [value[name] for name in _TELLING if name in value]
        value = telling[0] if telling else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = text.strip().replace("\n", "; ")
    return line if len(line) <= INPUT_CHARACTERS else line[: INPUT_CHARACTERS - 1] + "…"
