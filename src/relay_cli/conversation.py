"""Writes an agent's conversation for people: text while it grows, and each tool call with its result."""

import json
from collections.abc import Mapping
from typing import Any

from relay_core.console.output import LogWriter

RESULT_LINES = 12
"""Lines of a tool's result that are shown; the number of further lines is."""
INPUT_CHARACTERS = 300
"""Characters of a tool's input that are shown."""
_SUMMARY_INPUTS = ("command", "cmd", "file_path", "path", "pattern", "query", "url")
"""Inputs that summarise a tool call: the first of them that a call has is shown in place of the whole input."""


class ConversationWriter:
    """Writes entries of a conversation; an entry that comes again, changed, adds only its new text.

    Args:
        target: gets the text, in UTF-8.
    """

    def __init__(self, target: LogWriter) -> None:
        self._target = target
        self._shown: dict[int, str] = {}
        """Entry → its text that has been written."""
        self._open: int | None = None
        """Entry at the end of the output whose line has no newline yet; None: the output ends with a newline."""

    def show(self, entry: Mapping[str, Any]) -> None:
        """Write the part of an entry that was not written before.

        Args:
            entry: as the API gives it: `entry` (its number), `kind`, `text`, `tool`, `agent`, `usage`, `truncated`.
        """
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
        """End the last line with a newline."""
        if self._open is not None:
            self._write("\n")
            self._open = None

    def _write(self, text: str) -> None:
        self._target.write(text.encode(errors="replace"))


def _text(entry: Mapping[str, Any]) -> str:
    kind: str = entry["kind"]
    text: str = entry["text"]
    agent = f"[{entry['agent']}] " if entry.get("agent") else ""
    if entry["tool"]:
        return _tool(entry["tool"], agent)
    if kind == "usage":
        return "usage: " + ", ".join(f"{name} {value:g}" for name, value in (entry["usage"] or {}).items())
    prefix = agent + {"reasoning": "(thinking) ", "error": "error: ", "notice": "notice: "}.get(kind, "")
    return prefix + text + (" […]" if entry["truncated"] else "")


def _tool(tool: Mapping[str, Any], agent: str) -> str:
    summary = ", ".join(tool["paths"]) or _input_summary(tool["input"])
    head = f"> {agent}{tool['name']}: {summary}"
    if tool["status"] == "running":
        return head
    lines = tool["result"].strip("\n").splitlines()
    more = [f"… {len(lines) - RESULT_LINES} more lines"] if len(lines) > RESULT_LINES else []
    mark = [f"({tool['status']})"] if tool["status"] in {"failed", "interrupted"} else []
    return "\n".join([head, *(f"  {line}" for line in [*mark, *lines[:RESULT_LINES], *more])])


def _input_summary(tool_input: str) -> str:
    try:
        value = json.loads(tool_input)
    except ValueError:
        value = tool_input
    if isinstance(value, dict):
        summaries = [value[name] for name in _SUMMARY_INPUTS if name in value]
        value = summaries[0] if summaries else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = text.strip().replace("\n", "; ")
    return line if len(line) <= INPUT_CHARACTERS else line[: INPUT_CHARACTERS - 1] + "…"
