"""A coding agent's turn as a conversation: what it said, thought, called and changed, whatever agent it was.

Entries are numbered from 0 in the order in which they began. An entry may still change (text that streams in, a tool
call that ends); each change of any entry of a turn takes the next number of one `sequence`, 1, 2, … Both follow from
the agent's output alone and not from how it was cut, so whoever reads it again numbers everything the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_TEXT_BYTES = 32 << 10
"""Longest text of an entry (UTF-8); of a longer one the beginning is kept."""
MAX_INPUT_BYTES = 16 << 10
"""Longest input of a tool call, as JSON."""
MAX_ENTRIES = 20_000
"""Most entries of a turn; the last one says that there were more, and the raw log has them."""


class EntryKind(StrEnum):
    """What an entry is."""

    ASSISTANT = "assistant"
    """Words of the agent."""
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    FILE_EDIT = "file_edit"
    """A tool call that writes files."""
    NOTICE = "notice"
    """Something that its program says: a retry, a warning."""
    ERROR = "error"
    USAGE = "usage"
    """What the turn took, at its end."""


class ToolStatus(StrEnum):
    """How a tool call stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The turn ended before it did."""


@dataclass(frozen=True)
class Tool:
    """A tool call."""

    name: str
    input: str
    """As JSON, or as the text it was given as."""
    status: ToolStatus = ToolStatus.RUNNING
    result: str = ""
    paths: tuple[str, ...] = ()
    """Of a file edit: the files."""


@dataclass(frozen=True)
class Entry:
    """One entry as it stands after the change `sequence`."""

    index: int
    sequence: int
    kind: EntryKind
    text: str = ""
    tool: Tool | None = None
    usage: Mapping[str, float] | None = None
    truncated: bool = False
    """Some of its text was too long and is only in the raw log."""
    agent: str | None = None
    """The subagent whose it is; None: the agent itself."""
    masked: bool = False
    """Something in it is a secret and is shown as asterisks."""

    def as_json(self) -> dict[str, Any]:
        """Everything but index, sequence and kind, as it is stored."""
        tool = self.tool and {**vars(self.tool), "paths": list(self.tool.paths)}
        usage = None if self.usage is None else dict(self.usage)
        told = {"truncated": self.truncated, "agent": self.agent, "masked": self.masked}
        return {"text": self.text, "tool": tool, "usage": usage, **told}
