"""The executor that runs any command: for agents that Relay does not know, for scripts, and for tests."""

from collections.abc import Mapping
from typing import Final

from relay_core.domain.agents.executors import SHELL
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.port import StepPlan, TurnRequest, Verdict, exit_verdict, prompt_bytes
from relay_workers.agents.shared.plain_text import MAX_BYTES, plain_text

_LINE_BYTES: Final = 4 * MAX_BYTES
"""How much of a line is kept: enough for `MAX_BYTES` of words among terminal sequences."""


class Shell:
    """Runs ``command`` as a script of /bin/sh with the prompt on standard input; exit code 0 is success."""

    name: Final = SHELL.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """None of its own: what a command line needs only a shell can tell, and a shell is looked for in any case."""
        _command(request)
        return ()

    def plan(self, request: TurnRequest) -> StepPlan:
        """The command, as it is."""
        return StepPlan(_command(request) + b"\n", prompt_bytes(request))

    def reader(self, request: TurnRequest) -> "ShellReader":  # noqa: ARG002 - the port's
        """Remembers the last line."""
        return ShellReader()


class ShellReader:
    """Understands nothing but lines: the last one with anything to see on it is the summary."""

    agent_session_id: None = None
    agent_message_id: None = None
    usage: Mapping[str, float] = {}

    def __init__(self) -> None:
        self._open = b""
        self._last: str | None = None

    @property
    def summary(self) -> str | None:
        """The last non-empty line. A carriage return ends a line too: what a progress bar ended with counts."""
        return _line(self._open) or self._last

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        head, newline, rest = data.replace(b"\r", b"\n").partition(b"\n")
        self._open = (self._open + head.lstrip() if not self._open else self._open + head[: self._room])[:_LINE_BYTES]
        if not newline:
            return
        whole, _, tail = rest.rpartition(b"\n")
        self._last = _last_line(whole) or _line(self._open) or self._last
        self._open = tail.lstrip()[:_LINE_BYTES]

    @property
    def _room(self) -> int:
        return _LINE_BYTES - len(self._open)

    def entries(self) -> tuple[()]:
        """None: lines are no conversation."""
        return ()

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:  # noqa: ARG002 - the port's
        """The exit code decides."""
        return exit_verdict("the command", exit_code)


def _command(request: TurnRequest) -> bytes:
    if not request.command or not request.command.strip():
        raise InvalidInput("executor.command is required for shell: the command line to run", field="executor.command")
    try:
        return request.command.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("executor.command is not valid Unicode", field="executor.command") from error


def _last_line(block: bytes) -> str | None:
    """The last line of a block with anything to see on it; each byte is looked at once."""
    end = len(block)
    while end > 0:
        start = block.rfind(b"\n", 0, end) + 1
        if seen := _line(block[start:end].lstrip()[:_LINE_BYTES]):
            return seen
        end = start - 1
    return None


def _line(line: bytes) -> str | None:
    return plain_text(line.decode(errors="replace"))
