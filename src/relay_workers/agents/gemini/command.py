"""The executor for Google's Gemini CLI, in its non-interactive mode (tried with 0.61.0)."""

from typing import Final

from relay_core.domain.agents.executors import AUTO, GEMINI, PLAN
from relay_workers.agents.gemini.reader import GeminiReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import (
    FLUSH_NODE_OUTPUT,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)

PROGRAM = "gemini"
_OUTPUT = ("--output-format", "stream-json")
_PERMISSIONS = {
    AUTO: ("--approval-mode", "yolo"),
    # In this mode Gemini CLI gives the model no tools that write; the final message is the plan.
    PLAN: ("--approval-mode", "plan"),
}
_ENV = {
    # Without this, Gemini CLI asks whether it may trust the folder, gets no answer, and changes the mode from "yolo" to
    # "default".
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    # Without this, Gemini CLI starts itself a second time, and that process does not receive a SIGTERM.
    "GEMINI_CLI_NO_RELAUNCH": "true",
}

# Gemini CLI uses the key only if its settings say so. These lines write settings only if the user has none.
_SETTINGS = b"""\
if [ -n "${GEMINI_API_KEY-}" ] && [ ! -e "$HOME/.gemini/settings.json" ]; then
    mkdir -p "$HOME/.gemini"
    echo '{"security":{"auth":{"selectedType":"gemini-api-key"}},"privacy":{"usageStatisticsEnabled":false},' \
        '"general":{"enableAutoUpdate":false}}' >"$HOME/.gemini/settings.json.$$"
    mv "$HOME/.gemini/settings.json.$$" "$HOME/.gemini/settings.json"
fi
"""


class Gemini:
    """Runs ``gemini`` with the prompt on standard input; like ``-p``, this makes gemini non-interactive."""

    name: Final = GEMINI.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that writes settings and starts gemini with `exec`, so that signals reach gemini."""
        prompt = prompt_for_model(request)
        line = shell_line([*program_argv(request, PROGRAM), *_OUTPUT, *_arguments(request)])
        return StepPlan(_SETTINGS + FLUSH_NODE_OUTPUT + b"exec " + line + b"\n", prompt, _ENV)

    def reader(self, request: TurnRequest) -> GeminiReader:
        """Return a reader for the JSON lines that gemini prints."""
        return GeminiReader(resumes=request.resume_session_id is not None, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [*_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    # Gemini CLI would read an id that is not a UUID as a position in its list of conversations.
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
