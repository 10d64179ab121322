"""The executors of this worker, by name."""

from collections.abc import Mapping

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
from relay_workers.agents.qwen import Qwen
from relay_workers.agents.shared.turn_rules import AgentTurn
from relay_workers.agents.shell import Shell

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
_ALL: Mapping[str, Executor] = {executor.name: executor for executor in _EXECUTORS}


BEGINS_ANEW = (
    "No earlier turn of this session has left a conversation: this one begins it, and the agent knows nothing of them."
)


def reader_of(name: str, request: TurnRequest) -> TurnReader:
    """A reader for one run of this turn, whose conversation begins with what Relay has to say about it.

    Raises:
        InvalidInput: there is no such executor.
    """
    reader = get_executor(name).reader(request)
    if request.begins_anew and isinstance(reader, AgentTurn):
        reader.transcript.add_message(BEGINS_ANEW, kind=EntryKind.NOTICE)
    return reader


def get_executor(name: str) -> Executor:
    """The executor of that name.

    Raises:
        InvalidInput: there is none; the message lists those there are.
    """
    return _ALL[executor_kind(name).name]
