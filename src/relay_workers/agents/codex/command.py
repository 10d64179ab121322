"""The executor for OpenAI's Codex, in its non-interactive mode (tried with 0.169.0)."""

from typing import Final

from relay_core.domain.agents.executors import CODEX
from relay_workers.agents.codex.reader import CodexReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import (
    OUTLIVE_SIGNALS,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)
from relay_workers.agents.shared.turn_rules import may_write

PROGRAM = "codex"
_QUIET = ("-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false")
"""It would wait for seconds at its end to tell of its use."""
NO_SNAPSHOTS = ("-c", "features.shell_snapshot=false")
"""It would write its environment, keys and all, into a file of the home that every later step can read."""
_PERMISSIONS = "--dangerously-bypass-approvals-and-sandbox"
"""There is no other mode: its read-only sandbox wants namespaces of its own, which a workspace's container denies."""
_KEY = b"""\
if [ -n "${OPENAI_API_KEY-}" ]; then
  export CODEX_API_KEY="${CODEX_API_KEY:-$OPENAI_API_KEY}"
fi
"""
"""Its own provider takes the key by another name, and wants a login otherwise."""
_PROVIDER = b"""\
if [ -n "${OPENAI_BASE_URL-}" ]; then
  set -- "$@" -c model_provider=relay -c model_providers.relay.name=relay \\
    -c "model_providers.relay.base_url=$OPENAI_BASE_URL" \\
    -c model_providers.relay.env_key=OPENAI_API_KEY -c model_providers.relay.wire_api=responses
fi
"""
"""It heeds no OPENAI_BASE_URL, but takes another provider by its configuration."""
_USED = b"""\
used() {
  find "${CODEX_HOME:-$HOME/.codex}/sessions" -name "rollout-*-$1.jsonl" $2 2>/dev/null | sort | head -n 1 |
    while read -r file; do
      grep -h '"token_count","info":{"total_token_usage"' "$file" | tail -n 1
    done
}
"""
"""Of the conversation $1, or of the oldest that is as new as $2 says: others are those of its subagents.

It counts the tokens of a conversation, not of a turn: the reader takes off what is printed before it."""
_RUN = b"""\
mark=$(mktemp)
"$@" %s
code=$?
used '%s' "-newer $mark"
rm -f "$mark"
exit "$code"
"""
"""A turn that fails or is killed tells no tokens: they are looked up once it is over. TERM reaches every process."""


class Codex:
    """Runs ``codex exec`` with the prompt on standard input."""

    name: Final = CODEX.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Arguments, then those that hang on the run's environment; a script that stays, to count at the end."""
        resumed = resumed_uuid(request)
        argv = shell_line([*program_argv(request, PROGRAM), *_arguments(request)])
        end = shell_line(["-"] if resumed is None else [resumed, "-"])
        before = b"" if resumed is None else b"used %s\n" % resumed.encode()
        script = b"%s%s%s%sset -- %s\n%s%s" % (
            OUTLIVE_SIGNALS,
            _USED,
            before,
            _KEY,
            argv,
            _PROVIDER,
            _RUN % (end, (resumed or "*").encode()),
        )
        return StepPlan(script, prompt_for_model(request))

    def reader(self, request: TurnRequest) -> CodexReader:
        """Understands the JSON lines of ``exec --json``."""
        return CodexReader(request.resume_session_id, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    resume = ["resume"] if request.resume_session_id is not None else []
    arguments = ["exec", *resume, "--json", "--skip-git-repo-check", _PERMISSIONS, *_QUIET, *NO_SNAPSHOTS]
    if request.model is not None:
        arguments += ["-m", request.model]
    if request.reasoning_effort is not None:
        arguments += ["-c", f"model_reasoning_effort={request.reasoning_effort}"]
    return [*arguments, *request.args]
