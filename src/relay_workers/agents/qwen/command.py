"""The executor for Qwen Code, in its non-interactive mode (tried with 0.24.4)."""

from typing import Final

from relay_core.domain.agents.executors import AUTO, PLAN, QWEN
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.qwen.reader import QwenReader
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import (
    FLUSH_NODE_OUTPUT,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)

PROGRAM = "qwen"
_PERMISSIONS = {AUTO: ("--yolo",), PLAN: ("--approval-mode", "plan")}
_ENV = {
    "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
    # The launcher of Qwen Code starts the program as a child process. Without this, that process would start itself
    # a second time.
    "QWEN_CODE_NO_RELAUNCH": "true",
}

# These defaults are the lowest layer of Qwen Code's settings: the user's ~/.qwen/settings.json takes precedence and is
# not changed. "memory": without it, Qwen Code asks the model after each answer which parts of the conversation it
# should remember.
_SETTINGS = b"""\
if [ -z "${QWEN_CODE_SYSTEM_DEFAULTS_PATH-}" ]; then
    export QWEN_CODE_SYSTEM_DEFAULTS_PATH="$HOME/.qwen/relay-defaults.json"
    mkdir -p "$HOME/.qwen"
    cat >"$QWEN_CODE_SYSTEM_DEFAULTS_PATH.$$" <<'END'
{
  "memory": {"enableManagedAutoMemory": false},
  "privacy": {"usageStatisticsEnabled": false},
  "general": {"enableAutoUpdate": false}
}
END
    mv "$QWEN_CODE_SYSTEM_DEFAULTS_PATH.$$" "$QWEN_CODE_SYSTEM_DEFAULTS_PATH"
fi
"""
_KEY = b"""\
if [ -n "${OPENAI_API_KEY-}" ]; then
  set -- "$@" --auth-type openai
fi
"""
"""Lines of the script: if OPENAI_API_KEY is set, Qwen Code uses that key and not the login in the home directory."""


class Qwen:
    """Runs ``qwen`` with the prompt on standard input."""

    name: Final = QWEN.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that starts qwen, with ``--auth-type openai`` if the environment contains OPENAI_API_KEY.

        The script ends with `exec`, so that signals reach qwen itself.
        """
        argv = shell_line([*program_argv(request, PROGRAM), *_arguments(request)])
        script = b'%s%sset -- %s\n%sexec "$@"\n' % (_SETTINGS, FLUSH_NODE_OUTPUT, argv, _KEY)
        return StepPlan(script, prompt_for_model(request), _ENV)

    def reader(self, request: TurnRequest) -> QwenReader:
        """Return a reader for the JSON lines that qwen prints."""
        return QwenReader(request.resume_session_id, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = [
        "--output-format",
        "stream-json",
        "--include-partial-messages",
        *_PERMISSIONS[request.permission_mode or AUTO],
    ]
    if request.model is not None:
        arguments += ["--model", request.model]
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
