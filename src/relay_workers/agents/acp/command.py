"""The executor for any agent that speaks the Agent Client Protocol (tried with agent-client-protocol 0.12.1).

The step runs Relay's own driver (driver.py) in the container, and the driver starts the agent. So a turn continues if
the worker dies.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Final

from relay_core.domain.agents.executors import ACP, program_words
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.acp.reader import AcpReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.programs import ACP_PYTHON
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import CODEX_NO_SNAPSHOTS, prompt_for_model

_DRIVER = Path(__file__).with_name("driver.py")
_BARE_LIBRARY = """
import sys
from importlib.util import find_spec, module_from_spec
sys.modules["acp"] = module_from_spec(find_spec("acp"))
"""
"""Makes the package `acp` known without executing its ``__init__``, which builds all models of the protocol.

These take half a second of each turn, and the driver uses none of them. Modules of the package that the driver imports
are found and executed as usual.
"""
_MAX_ID = 200
_ROOT_ENV = {"IS_SANDBOX": "1"}
"""Informs Claude Code, which claude-agent-acp starts, that it runs in a sandbox.

Without it, Claude Code refuses to skip permissions as root.
"""


class Acp:
    """Runs ``command`` as an agent.

    The driver grants the agent's requests for permission, except in the permission modes `reject` and `plan`.
    """

    name: Final = ACP.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the programs that the image must contain.

        These are the python3 with the library agent-client-protocol and, if it is not in the repository, the agent's
        program.
        """
        program = _command(request)[0]
        return (ACP_PYTHON,) if "/" in program and not program.startswith("/") else (ACP_PYTHON, program)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that consists of the driver's source and a call of `main` with the settings of the turn.

        Python runs isolated (``-I``), so variables such as PYTHONPATH do not affect the driver.
        """
        turn = {
            "command": [*_command(request), *_own_arguments(request), *request.args],
            "session_id": _session_id(request),
            "mode": request.permission_mode,
            "model": request.model,
            "effort": request.reasoning_effort,
        }
        script = f"#!{ACP_PYTHON} -IB{_BARE_LIBRARY}{_DRIVER.read_text()}\n\nmain({json.dumps(turn)!r})\n"
        return StepPlan(script.encode(), prompt_for_model(request), _ROOT_ENV if request.as_root else {})

    def reader(self, request: TurnRequest) -> AcpReader:
        """Return a reader for the lines that the driver prints."""
        return AcpReader(may_write=may_write(request))


def _command(request: TurnRequest) -> tuple[str, ...]:
    if not request.command or not request.command.strip():
        raise InvalidInput(
            "executor.command is required for acp: the agent's command line, such as `gemini --acp`",
            field="executor.command",
        )
    return program_words(request.command)


def _own_arguments(request: TurnRequest) -> tuple[str, ...]:
    return CODEX_NO_SNAPSHOTS if PurePosixPath(_command(request)[0]).name == "codex-acp" else ()


def _session_id(request: TurnRequest) -> str | None:
    session_id = request.resume_session_id
    if session_id is not None and not (0 < len(session_id) <= _MAX_ID and session_id.isprintable()):
        raise InvalidInput(
            f"the agent's session id is not printable or longer than {_MAX_ID} characters: this conversation cannot be "
            "resumed",
            field="session_id",
        )
    return session_id
