"""The executor for Google's Gemini CLI, in its non-interactive mode (tried with 0.61.0)."""

from typing import Final

from relay_core.domain.agents.executors import AUTO, GEMINI, PLAN
from relay_workers.agents.gemini.reader import GeminiReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import (
    FLUSH_NODE_OUTPUT,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)
from relay_workers.agents.shared.turn_rules import may_write

PROGRAM = "gemini"
_OUTPUT = ("--output-format", "stream-json")
_PERMISSIONS = {
    AUTO: ("--approval-mode", "yolo"),
    # Writing tools are not on offer; the plan is the final text.
    PLAN: ("--approval-mode", "plan"),
}
_ENV = {
    # Otherwise it asks whether it may trust the folder, and takes "yolo" for "default" where nobody answers.
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    # It starts itself a second time otherwise, and that one does not hear of a SIGTERM.
    "GEMINI_CLI_NO_RELAUNCH": "true",
}

# A key is not used unless the settings name it; a user's own settings are left as they are.
_SETTINGS = b"""\
if [ -n "${GEMINI_API_KEY-}" ] && [ ! -e "$HOME/.gemini/settings.json" ]; then
    mkdir -p "$HOME/.gemini"
    echo '{"security":{"auth":{"selectedType":"gemini-api-key"}},"privacy":{"usageStatisticsEnabled":false},' \
        '"general":{"enableAutoUpdate":false}}' >"$HOME/.gemini/settings.json.$$"
    mv "$HOME/.gemini/settings.json.$$" "$HOME/.gemini/settings.json"
fi
"""


class Gemini:
    """Runs ``gemini`` with the prompt on standard input, which makes it non-interactive as ``-p`` does.

    A prompt that begins with a slash or a question mark would be one of its commands, or be forgotten when the
    conversation is resumed: `prompt_for_model` keeps it from both.
    """

    name: Final = GEMINI.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Settings, then the command line as one `exec`, so that signals reach the program itself."""
        prompt = prompt_for_model(request)
        line = shell_line([*program_argv(request, PROGRAM), *_OUTPUT, *_arguments(request)])
        return StepPlan(_SETTINGS + FLUSH_NODE_OUTPUT + b"exec " + line + b"\n", prompt, _ENV)

    def reader(self, request: TurnRequest) -> GeminiReader:
        """Understands the JSON lines of ``stream-json``."""
        return GeminiReader(resumes=request.resume_session_id is not None, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [*_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    # Anything but a UUID it takes for a place in its list of conversations.
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
