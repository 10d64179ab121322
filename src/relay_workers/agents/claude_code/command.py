"""The executor for Anthropic's Claude Code, in its non-interactive mode (tried with 2.1.329)."""

from typing import Final

from relay_core.domain.agents.executors import AUTO, CLAUDE_CODE, PLAN
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import (
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)
from relay_workers.agents.shared.turn_rules import may_write

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


class ClaudeCode:
    """Runs ``claude -p`` with the prompt on standard input, where its length does not matter (3 MB tried)."""

    name: Final = CLAUDE_CODE.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """The command line as one `exec`, so that signals reach the program itself."""
        line = shell_line([*program_argv(request, PROGRAM), *_OUTPUT, *_arguments(request)])
        env = {**_ENV, **(_ROOT_ENV if request.as_root else {})}
        return StepPlan(b"exec %s\n" % line, prompt_for_model(request), env)

    def reader(self, request: TurnRequest) -> ClaudeReader:
        """Understands the JSON lines of ``stream-json``."""
        return ClaudeReader(resumes=request.resume_session_id is not None, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [*_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    if request.reasoning_effort is not None:
        arguments += ["--effort", request.reasoning_effort]
    # Anything but a UUID it takes for a *title* and looks for one like it.
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
