"""Write an agent's conversation for people: the prompt, text while it grows, and each tool call with its result."""

from collections.abc import Mapping
from typing import Any, Protocol

from relay_cli.rendering.style import Style
from relay_cli.rendering.tool_calls import call_lines
from relay_cli.rendering.units import usage_text

PROMPT_LINES = 20
"""Most lines of a prompt that are shown."""
_SUBAGENT = "  | "
"""Begins each line of a subagent."""


class Target(Protocol):
    """Takes the bytes of the text."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


class ConversationWriter:
    """Writes the entries of a conversation. When an entry has changed, only its new text is written.

    Args:
        target: gets the text, in UTF-8.
        style: colours of the text.
    """

    def __init__(self, target: Target, style: Style | None = None) -> None:
        self._target = target
        self._style = style or Style()
        self._shown: dict[int, str] = {}
        """Number of an entry → the text of the entry that has been written."""
        self._open: int | None = None
        """Number of the last written entry, whose last line has no newline yet. None if the output ends with one."""
        self._agent: str | None = None
        """Subagent of the last written entry; None for the agent itself."""

    def begin(self, execution: Mapping[str, Any]) -> None:
        """Write the agent, its model and the prompt of its turn.

        Args:
            execution: the execution as the API returns it (`ExecutionDetail`).
        """
        executor = (execution.get("action") or {}).get("executor") or {}
        model = f" · {executor['model']}" if executor.get("model") else ""
        self._write(self._style.paint(f"{execution.get('executor')}{model}", "bold") + "\n")
        lines = ((execution.get("turn") or {}).get("prompt") or "").strip().splitlines()
        more = [f"… {len(lines) - PROMPT_LINES} more lines"] if len(lines) > PROMPT_LINES else []
        if lines:
            told = "\n".join(f"  {line}" for line in [*lines[:PROMPT_LINES], *more])
            self._write(self._style.paint("prompt:", "dim") + f"\n{told}\n\n")

    def show(self, entry: Mapping[str, Any]) -> None:
        """Write the part of an entry that was not written before.

        Args:
            entry: the entry as the API returns it, with the fields `entry` (its number), `kind`, `text`, `tool`,
                `agent`, `usage` and `truncated`.
        """
        number = entry["entry"]
        text = _text(entry, self._style)
        before = self._shown.get(number, "")
        if text == before:
            return
        self._shown[number] = text
        if before and self._open == number and text.startswith(before):
            self._write(self._painted(text[len(before) :], entry))
            return
        self.end()
        self._head_of_subagent(entry)
        rest = text.removeprefix(before).lstrip("\n") if before else text
        self._write(self._painted(rest, entry))
        self._open = number

    def end(self) -> None:
        """Write the newline of the last line, if it is missing."""
        if self._open is not None:
            self._write("\n")
            self._open = None

    def _head_of_subagent(self, entry: Mapping[str, Any]) -> None:
        agent = entry.get("agent")
        if agent != self._agent and agent:
            self._write(self._style.paint(f"{_SUBAGENT}[{agent}]", "magenta") + "\n")
        self._agent = agent

    def _painted(self, text: str, entry: Mapping[str, Any]) -> str:
        colour = {"reasoning": "dim", "notice": "yellow", "error": "red", "usage": "dim"}.get(entry["kind"])
        return self._style.paint(text, colour) if colour else text

    def _write(self, text: str) -> None:
        self._target.write(text.encode(errors="replace"))


def _text(entry: Mapping[str, Any], style: Style) -> str:
    """Return the whole text of an entry; of a subagent, each line begins with a bar."""
    kind: str = entry["kind"]
    if entry["tool"]:
        text = "\n".join(call_lines(entry["tool"], style))
    elif kind == "usage":
        text = f"used {usage_text(entry['usage']) or 'no tokens that the agent tells of'}"
    else:
        prefix = {"reasoning": "(thinking) ", "error": "error: ", "notice": "notice: "}.get(kind, "")
        text = prefix + entry["text"] + (" […]" if entry["truncated"] else "")
    return _SUBAGENT + text.replace("\n", f"\n{_SUBAGENT}") if entry.get("agent") else text
