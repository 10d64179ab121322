"""Write an agent's conversation for people: text while it grows, and each tool call with its result."""

import json
from collections.abc import Mapping
from typing import Any

from relay_core.console.output import LogWriter

RESULT_LINES = 12
"""Most lines of a tool's result that are shown; of further lines only the number is shown."""
INPUT_CHARACTERS = 300
"""Most characters of a tool's input that are shown."""
_SUMMARY_INPUTS = ("command", "cmd", "file_path", "path", "pattern", "query", "url")
"""Input fields that summarise a tool call: the first one that a call has is shown instead of the whole input."""


class ConversationWriter:
    """Writes the entries of a conversation. When an entry has changed, only its new text is written.

    Args:
        target: the writer that gets the text, in UTF-8.
    """

    def __init__(self, target: LogWriter) -> None:
        self._target = target
        self._shown: dict[int, str] = {}
        """Number of an entry → the text of the entry that has been written."""
        self._open: int | None = None
        """Number of the last written entry, whose last line has no newline yet. None if the output ends with one."""

    def show(self, entry: Mapping[str, Any]) -> None:
        """Write the part of an entry that was not written before.

        Args:
            entry: the entry as the API returns it, with the fields `entry` (its number), `kind`, `text`, `tool`,
                `agent`, `usage` and `truncated`.
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
        """Write the newline of the last line, if it is missing."""
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
