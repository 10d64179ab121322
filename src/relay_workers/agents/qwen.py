"""The executor for Qwen Code, in its non-interactive mode (tried with 0.24.4)."""

import re
from collections.abc import Mapping
from typing import Any, Final

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.agents.executors import AUTO, PLAN, QWEN
from relay_workers.agents.claude_code.reader import ClaudeFormatReader
from relay_workers.agents.port import StepPlan, TurnRequest, Verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.command_line import (
    FLUSH_NODE_OUTPUT,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)
from relay_workers.agents.shared.json_turn import numbers, object_of, text_of
from relay_workers.agents.shared.resuming import resume_failure
from relay_workers.agents.shared.turn_rules import may_write

PROGRAM = "qwen"
_PERMISSIONS = {AUTO: ("--yolo",), PLAN: ("--approval-mode", "plan")}
_ENV = {
    "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
    # Its launcher starts it as a child; that one would start itself once more.
    "QWEN_CODE_NO_RELAUNCH": "true",
}

# The lowest of its layers of settings: what the user has in ~/.qwen/settings.json wins, and is not touched. Left to
# itself it asks the model, after the answer, what of the conversation should be remembered.
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
"""Without a key the login of its home counts."""
_USAGE = {name: name for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")}
_API_ERROR = re.compile(r"\[API Error: (?:(\d{3})\b)?[^\n]*\]\s*\Z")
_UNKNOWN = re.compile(rb"No saved session found with ID [^.\n]*")


class Qwen:
    """Runs ``qwen`` with the prompt on standard input."""

    name: Final = QWEN.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Arguments, then those that hang on the run's environment; an `exec`, so that signals reach the program."""
        argv = shell_line([*program_argv(request, PROGRAM), *_arguments(request)])
        script = b'%s%sset -- %s\n%sexec "$@"\n' % (_SETTINGS, FLUSH_NODE_OUTPUT, argv, _KEY)
        return StepPlan(script, prompt_for_model(request), _ENV)

    def reader(self, request: TurnRequest) -> "QwenReader":
        """Understands the JSON lines of ``stream-json``."""
        return QwenReader(request.resume_session_id, may_write=may_write(request))


class QwenReader(ClaudeFormatReader):
    """Its lines are those of Claude Code, but for four things.

    - An error of the model's API is the text of an ``assistant`` line, and tells no kind.
    - The ``result`` counts the tokens of the whole conversation, so those of the turn's messages are added up. Their
      input has the cached ones too, and their output those of reasoning, which are not told apart.
    - An answer that broke off is asked for again (``retry``); where it keeps what it has, both are one message.
    - That it knows no such session it says on stderr only.
    """

    program = PROGRAM
    key_advice = "give the run a valid OPENAI_API_KEY in `env` or `secrets`"

    def __init__(self, resumed: str | None = None, *, may_write: bool = True) -> None:
        super().__init__(resumes=resumed is not None, may_write=may_write)
        self._resumed = resumed
        self._turn: dict[str, float] = {}

    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one line."""
        message = object_of(line.get("message")) if line.get("type") == "assistant" else {}
        counted = used.disjoint(numbers(message.get("usage"), _USAGE), input_has=[used.CACHED])
        self._turn = used.total(self._turn, counted)
        error = _API_ERROR.search(_only_text(message))
        if error and error.start() > 0:  # it stands behind the words of an answer that broke off
            super().take_line({**line, "message": {**message, "content": _only_text(message)[: error.start()]}})
        told = "authentication_failed" if error and error[1] in {"401", "403"} else "unknown"
        made_up = {"content": error[0] if error else ""}
        api_error = {**line, "message": made_up, "is_api_error_message": True, "error": told}
        super().take_line(api_error if error else line)
        if line.get("type") == "system" and line.get("subtype") == "retry":
            self._error = "the model's answer broke off and was asked for again"
            self.transcript.add_message(self._error, kind=EntryKind.NOTICE)
        self.usage = {**self.usage, **self._turn}

    def judge(self, exit_code: int | None) -> Verdict:
        """As Claude Code's, and a conversation that did not go on is told."""
        other = resume_failure(PROGRAM, self._resumed, self.agent_session_id, self.stderr, _UNKNOWN)
        return other or super().judge(exit_code)

    def result_usage(self, result: dict[str, Any]) -> dict[str, float]:  # noqa: ARG002 - Claude Code's
        """Nothing: the messages have told it."""
        return {}


def _only_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return text_of(object_of(content[0]).get("text")) if isinstance(content, list) and len(content) == 1 else ""


def _arguments(request: TurnRequest) -> list[str]:
    arguments = ["--output-format", "stream-json", *_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
