"""The executor for Anthropic's Claude Code, in its non-interactive mode (tried with 2.1.329)."""

import re
import shlex
from typing import Final

from relay_core.domain.errors import InvalidInput
from relay_core.domain.executor_names import AUTO, CLAUDE_CODE, PLAN, program_words
from relay_workers.executors.claude_stream import ClaudeReader
from relay_workers.executors.port import StepPlan, TurnRequest, prompt_bytes

PROGRAM = "claude"
_OUTPUT = ("-p", "--output-format", "stream-json", "--verbose")
_PERMISSIONS = {
    AUTO: ("--dangerously-skip-permissions",),
    # Writing tools and the shell are refused; the plan is the final text.
    PLAN: ("--permission-mode", "plan"),
}
_ENV = {
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}
_ROOT_ENV = {"IS_SANDBOX": "1"}
"""Without it the program refuses to skip permissions as root; the container is the sandbox."""
_SESSION_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""Anything else ``--resume`` takes for a *title* and looks for one like it."""


class ClaudeCode:
    """Runs ``claude -p`` with the prompt on standard input, where its length does not matter (3 MB tried)."""

    name: Final = CLAUDE_CODE.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one by a path in the repository: that is not cloned yet."""
        program = _program(request)[0]
        return () if "/" in program and not program.startswith("/") else (program,)

    def plan(self, request: TurnRequest) -> StepPlan:
        """The command line as one `exec`, so that signals reach the program itself."""
        if not request.prompt.strip():
            raise InvalidInput("prompt is empty: Claude Code needs one", field="prompt")
        line = shlex.join([*_program(request), *_OUTPUT, *_arguments(request)])
        env = {**_ENV, **(_ROOT_ENV if request.as_root else {})}
        return StepPlan(f"exec {line}\n".encode(), prompt_bytes(request), env)

    def reader(self, request: TurnRequest) -> ClaudeReader:  # noqa: ARG002 - the port's
        """Understands the JSON lines of ``stream-json``."""
        return ClaudeReader()


def _program(request: TurnRequest) -> tuple[str, ...]:
    return program_words(request.command) if request.command else (PROGRAM,)


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [*_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    if request.resume_session_id is not None:
        if not _SESSION_ID.fullmatch(request.resume_session_id):
            raise InvalidInput(
                "the agent's session id is no UUID: this conversation cannot be resumed", field="session_id"
            )
        arguments += ["--resume", request.resume_session_id]
    return [*arguments, *request.args]
