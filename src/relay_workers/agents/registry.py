"""All executors of the worker, and access to them by name."""

from collections.abc import Mapping
from typing import Final

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.agents.executors import executor_kind
from relay_workers.agents.acp.command import Acp
from relay_workers.agents.aider.command import Aider
from relay_workers.agents.claude_code.command import ClaudeCode
from relay_workers.agents.codex.command import Codex
from relay_workers.agents.gemini.command import Gemini
from relay_workers.agents.mini.command import Mini
from relay_workers.agents.opencode.command import OpenCode
from relay_workers.agents.port import Executor, TurnReader, TurnRequest
from relay_workers.agents.qwen.command import Qwen
from relay_workers.agents.shared.agent_reader import AgentReader
from relay_workers.agents.shell.command import Shell

_EXECUTORS: tuple[Executor, ...] = (
    Shell(),
    ClaudeCode(),
    Codex(),
    OpenCode(),
    Qwen(),
    Gemini(),
    Aider(),
    Mini(),
    Acp(),
)
EXECUTORS: Final[Mapping[str, Executor]] = {executor.name: executor for executor in _EXECUTORS}
"""Executors by name; the names are those of `relay_core.domain.agents.executors.EXECUTORS`."""

BEGINS_ANEW = (
    "No earlier turn of this session left a conversation that can be resumed here: this turn begins a new one, and the "
    "agent knows nothing of the earlier turns."
)
"""Notice for people, used as an entry of the conversation and as the message of an event.

The event is ``execution.conversation_begun_anew``.
"""


def reader_of(name: str, request: TurnRequest) -> TurnReader:
    """Return a new reader for the output of one execution of a turn.

    If `request.begins_anew` is set, the reader's first entry is the notice `BEGINS_ANEW`.

    Args:
        name: name of the executor.
        request: the turn.

    Raises:
        InvalidInput: no executor has this name.
    """
    reader = get_executor(name).reader(request)
    if request.begins_anew and isinstance(reader, AgentReader):
        reader.transcript.add_message(BEGINS_ANEW, kind=EntryKind.NOTICE)
    return reader


def get_executor(name: str) -> Executor:
    """Return the executor with this name.

    Raises:
        InvalidInput: no executor has this name; the message lists the names that exist.
    """
    return EXECUTORS[executor_kind(name).name]
