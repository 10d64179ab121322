"""The conversation of a coding agent's turn: its messages, reasoning, tool calls and file edits, alike for all agents.

Entries are numbered from 0 in the order in which they began. An entry may still change: text streams in, a tool call
ends. Each change of any entry takes the next number of the turn's one `sequence`: 1, 2, … Both numbers depend only on
the agent's output and not on the pieces in which it was read, so reading the output again gives the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_TEXT_BYTES = 32 << 10
"""Longest text of an entry in bytes of UTF-8; of a longer text only the beginning is kept."""
MAX_INPUT_BYTES = 16 << 10
"""Longest input of a tool call, in bytes of JSON."""
MAX_ENTRIES = 20_000
"""Most entries of a turn. After them one last entry says that there were more, which only the raw log has."""


class EntryKind(StrEnum):
    """The kind of an entry of a conversation: a text, a tool call, a notice, an error, or the usage of the turn."""

    ASSISTANT = "assistant"
    """Text that the agent addresses to the user."""
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    FILE_EDIT = "file_edit"
    """A tool call that writes files."""
    NOTICE = "notice"
    """A message of the agent's program rather than of the model, such as a retry or a warning."""
    ERROR = "error"
    USAGE = "usage"
    """Tokens and cost of the turn, at its end."""


class ToolStatus(StrEnum):
    """The state of a tool call."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The turn ended while the tool call was still running."""


@dataclass(frozen=True)
class Tool:
    """A call of one of the agent's tools."""

    name: str
    input: str
    """Arguments of the call as JSON, or the text that the agent printed in their place."""
    status: ToolStatus = ToolStatus.RUNNING
    result: str = ""
    paths: tuple[str, ...] = ()
    """Paths of the files that a file edit writes; empty for other calls."""


@dataclass(frozen=True)
class Entry:
    """One entry of a conversation, as it is after the change with the number `sequence`.

    Attributes:
        index: position in the conversation, from 0.
    """

    index: int
    sequence: int
    kind: EntryKind
    text: str = ""
    tool: Tool | None = None
    usage: Mapping[str, float] | None = None
    truncated: bool = False
    """Whether a text of the entry was cut because it was too long; the raw log has the whole text."""
    agent: str | None = None
    """Name of the subagent that made the entry; None for the agent itself."""
    masked: bool = False
    """Whether a secret in the entry was replaced by asterisks."""

    def as_json(self) -> dict[str, Any]:
        """Return the stored JSON: all fields but index, sequence and kind, which have columns of their own."""
        tool = self.tool and {**vars(self.tool), "paths": list(self.tool.paths)}
        usage = None if self.usage is None else dict(self.usage)
        told = {"truncated": self.truncated, "agent": self.agent, "masked": self.masked}
        return {"text": self.text, "tool": tool, "usage": usage, **told}
