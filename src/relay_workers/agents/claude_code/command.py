"""The executor for Anthropic's Claude Code, in its non-interactive mode (tried with 2.1.329)."""

from typing import Final

from relay_core.domain.agents.executors import AUTO, CLAUDE_CODE, PLAN
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import (
    program_argv,
    prompt_for_model,
    required_program,
    resumed_message,
    resumed_uuid,
    shell_line,
)

PROGRAM = "claude"
_OUTPUT = ("-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
_PERMISSIONS = {
    AUTO: ("--dangerously-skip-permissions",),
    # Claude Code denies the model the tools that write, and the shell; the final message is the plan.
    PLAN: ("--permission-mode", "plan"),
}
_ENV = {
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}
_ROOT_ENV = {"IS_SANDBOX": "1"}
"""Informs Claude Code that it runs in a sandbox (the container); without it, it refuses to skip permissions as root."""


class ClaudeCode:
    """Runs ``claude -p`` with the prompt on standard input, so its length is not limited (tried with 3 MB)."""

    name: Final = CLAUDE_CODE.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that replaces itself with Claude Code (`exec`), so that signals reach Claude Code."""
        line = shell_line([*program_argv(request, PROGRAM), *_OUTPUT, *_arguments(request)])
        env = {**_ENV, **(_ROOT_ENV if request.as_root else {})}
        return StepPlan(b"exec %s\n" % line, prompt_for_model(request), env)

    def reader(self, request: TurnRequest) -> ClaudeReader:
        """Return a reader for the JSON lines that Claude Code prints."""
        return ClaudeReader(resumes=request.resume_session_id is not None, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [*_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    if request.reasoning_effort is not None:
        arguments += ["--effort", request.reasoning_effort]
    # Claude Code would read an id that is not a UUID as a *title*, and search for a conversation with a similar title.
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
        if at := resumed_message(request):
            arguments += ["--resume-session-at", at]
    return [*arguments, *request.args]
