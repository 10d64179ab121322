"""The executor for OpenAI's Codex, in its non-interactive mode (tried with 0.169.0)."""

from typing import Final

from relay_core.domain.agents.executors import CODEX
from relay_workers.agents.codex.reader import CodexReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import (
    CODEX_NO_SNAPSHOTS,
    OUTLIVE_SIGNALS,
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)

PROGRAM = "codex"
_QUIET = ("-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false")
"""Arguments without which Codex waits for seconds before it exits, to send usage statistics."""
_PERMISSIONS = "--dangerously-bypass-approvals-and-sandbox"
"""Argument for the only permission mode of this executor.

The read-only sandbox of Codex needs Linux namespaces, which a workspace's container does not allow.
"""
_KEY = b"""\
if [ -n "${OPENAI_API_KEY-}" ]; then
  export CODEX_API_KEY="${CODEX_API_KEY:-$OPENAI_API_KEY}"
fi
"""
"""Lines of the script that copy OPENAI_API_KEY to CODEX_API_KEY, the variable that the default provider of Codex reads.

Without a key in that variable, Codex asks for a login.
"""
_PROVIDER = b"""\
if [ -n "${OPENAI_BASE_URL-}" ]; then
  set -- "$@" -c model_provider=relay -c model_providers.relay.name=relay \\
    -c "model_providers.relay.base_url=$OPENAI_BASE_URL" \\
    -c model_providers.relay.env_key=OPENAI_API_KEY -c model_providers.relay.wire_api=responses
fi
"""
"""Lines of the script that configure a model provider at OPENAI_BASE_URL; Codex itself ignores that variable."""
_USED = b"""\
used() {
  find "${CODEX_HOME:-$HOME/.codex}/sessions" -name "rollout-*-$1.jsonl" $2 2>/dev/null | sort | head -n 1 |
    while read -r file; do
      grep -h '"token_count","info":{"total_token_usage"' "$file" | tail -n 1
    done
}
"""
"""Shell function that prints the last token count of a conversation from the files that Codex writes.

$1 is the id of the conversation. If $1 is ``*``, the function takes the oldest conversation that matches $2 (options of
`find`): the newer conversations belong to subagents. The count includes all turns of the conversation, so the reader
subtracts the count that was printed before the turn.
"""
_RUN = b"""\
mark=$(mktemp)
"$@" %s
code=$?
used '%s' "-newer $mark"
rm -f "$mark"
exit "$code"
"""
"""Lines of the script that run Codex and then print the token count.

Codex itself does not print the count for a turn that failed or was killed.
"""


class Codex:
    """Runs ``codex exec`` with the prompt on standard input."""

    name: Final = CODEX.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that runs Codex and prints the token count; OPENAI_* variables become arguments of Codex."""
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
        """Return a reader for the JSON lines that Codex prints."""
        return CodexReader(request.resume_session_id, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    resume = ["resume"] if request.resume_session_id is not None else []
    images = [f"--image={path}" for path in request.images]
    arguments = [
        "exec",
        *resume,
        *images,
        "--json",
        "--skip-git-repo-check",
        _PERMISSIONS,
        *_QUIET,
        *CODEX_NO_SNAPSHOTS,
    ]
    if request.model is not None:
        arguments += ["-m", request.model]
    if request.reasoning_effort is not None:
        arguments += ["-c", f"model_reasoning_effort={request.reasoning_effort}"]
    return [*arguments, *request.args]
