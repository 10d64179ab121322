"""The executor for any agent that speaks the Agent Client Protocol (tried with agent-client-protocol 0.12.1).

Its program is ours (driver.py): it runs in the container beside the agent, so a worker may die in between.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Final

from relay_core.domain.agents.executors import ACP, program_words
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.acp.reader import AcpReader
from relay_workers.agents.codex.command import NO_SNAPSHOTS
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.programs import ACP_PYTHON
from relay_workers.agents.shared.command_line import prompt_for_model
from relay_workers.agents.shared.turn_rules import may_write

_DRIVER = Path(__file__).with_name("driver.py")
_MAX_ID = 200
_ROOT_ENV = {"IS_SANDBOX": "1"}
"""Claude Code, behind claude-agent-acp, refuses to skip permissions as root without it."""


class Acp:
    """Runs ``command`` as an agent; requests for permission are granted unless the mode is reject or plan."""

    name: Final = ACP.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The library's python, and the agent's program unless it is in the repository."""
        program = _command(request)[0]
        return (ACP_PYTHON,) if "/" in program and not program.startswith("/") else (ACP_PYTHON, program)

    def plan(self, request: TurnRequest) -> StepPlan:
        """The driver with this turn's settings at its end; without Python's own environment variables."""
        turn = {
            "command": [*_command(request), *_own_arguments(request), *request.args],
            "session_id": _session_id(request),
            "mode": request.permission_mode,
            "model": request.model,
            "effort": request.reasoning_effort,
        }
        script = f"#!{ACP_PYTHON} -IB\n{_DRIVER.read_text()}\n\nmain({json.dumps(turn)!r})\n"
        return StepPlan(script.encode(), prompt_for_model(request), _ROOT_ENV if request.as_root else {})

    def reader(self, request: TurnRequest) -> AcpReader:
        """Understands the driver's lines."""
        return AcpReader(may_write=may_write(request))


def _command(request: TurnRequest) -> tuple[str, ...]:
    if not request.command or not request.command.strip():
        raise InvalidInput(
            "executor.command is required for acp: the agent's command line, such as `gemini --acp`",
            field="executor.command",
        )
    return program_words(request.command)


def _own_arguments(request: TurnRequest) -> tuple[str, ...]:
    """Codex behind its adapter leaves its environment in the home, too."""
    return NO_SNAPSHOTS if PurePosixPath(_command(request)[0]).name == "codex-acp" else ()


def _session_id(request: TurnRequest) -> str | None:
    given = request.resume_session_id
    if given is not None and not (0 < len(given) <= _MAX_ID and given.isprintable()):
        raise InvalidInput(
            "the agent's session id cannot be one: this conversation cannot be resumed", field="session_id"
        )
    return given
