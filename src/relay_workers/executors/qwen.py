"""The executor for Qwen Code, in its non-interactive mode (tried with 0.24.4)."""

from typing import Final

from relay_core.domain.executor_names import AUTO, PLAN, QWEN
from relay_workers.executors.claude_stream import ClaudeLike
from relay_workers.executors.command_line import needed_program, program_of, resumed_uuid, shell_line, spoken_prompt
from relay_workers.executors.port import StepPlan, TurnRequest, Verdict
from relay_workers.executors.resuming import not_resumed

PROGRAM = "qwen"
_PERMISSIONS = {AUTO: ("--yolo",), PLAN: ("--approval-mode", "plan")}
_ENV = {"QWEN_CODE_SUPPRESS_YOLO_WARNING": "1"}
_KEY = b"""\
if [ -n "${OPENAI_API_KEY-}" ]; then
  set -- "$@" --auth-type openai
fi
"""
"""Without a key the login of its home counts."""


class Qwen:
    """Runs ``qwen`` with the prompt on standard input."""

    name: Final = QWEN.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return needed_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Arguments, then those that hang on the run's environment; an `exec`, so that signals reach the program."""
        words = shell_line([*program_of(request, PROGRAM), *_arguments(request)])
        script = b'set -- %s\n%sexec "$@"\n' % (words, _KEY)
        return StepPlan(script, spoken_prompt(request), {**_ENV, **request.env})

    def reader(self, request: TurnRequest) -> "QwenReader":
        """Understands the JSON lines of ``stream-json``."""
        return QwenReader(request.resume_session_id)


class QwenReader(ClaudeLike):
    """Its lines are those of Claude Code; that it knows no such session it says on stderr only."""

    program = PROGRAM
    key_advice = "give the run a valid OPENAI_API_KEY in `env` or `secrets`"

    def __init__(self, resumed: str | None = None) -> None:
        super().__init__()
        self._resumed = resumed

    def judge(self, exit_code: int | None) -> Verdict:
        """As Claude Code's, and a conversation that did not go on is told."""
        other = None if self._result else not_resumed(PROGRAM, self._resumed, self.agent_session_id, exit_code)
        return other or super().judge(exit_code)


def _arguments(request: TurnRequest) -> list[str]:
    arguments = ["--output-format", "stream-json", *_PERMISSIONS[request.permission_mode or AUTO]]
    if request.model is not None:
        arguments += ["--model", request.model]
    if resumed := resumed_uuid(request):
        arguments += ["--resume", resumed]
    return [*arguments, *request.args]
