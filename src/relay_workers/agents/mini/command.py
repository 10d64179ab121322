"""The executor for mini-swe-agent (tried with 2.4.6)."""

import json
import re
from typing import Final

from relay_core.domain.agents.executors import MINI
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.mini.reader import MiniReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import (
    OUTLIVE_SIGNALS,
    program_argv,
    prompt_for_model,
    required_program,
    shell_line,
)

PROGRAM = "mini"
_ENV = {
    "MSWEA_CONFIGURED": "true",  # else mini asks for a model and a key
    "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_COST_TRACKING": "ignore_errors",  # a model without a price is no error
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "5",  # mini repeats a request after any error: after 4, 4, 4 and 8 s
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else mini downloads a list of prices
    "COLUMNS": "500",  # characters after which mini folds its lines
}

# mini takes the prompt from its command line or from its configuration; only the latter has no limit of length. It
# records how the turn ended in its trajectory file only: the script prints the end and the sums of tokens from there as
# one line, whatever ended mini.
_SCRIPT = b"""\
dir="$HOME/.config/mini-swe-agent/relay"
mkdir -p "$dir"
base="$dir/$(cat /proc/sys/kernel/random/uuid)"
(umask 077; cat >"$base.yaml")
if [ -z "${OPENAI_API_BASE-}" ] && [ -n "${OPENAI_BASE_URL-}" ]; then export OPENAI_API_BASE="$OPENAI_BASE_URL"; fi
%s --config "${MSWEA_MINI_CONFIG_PATH:-mini.yaml}" --config "$base.yaml" --output "$base.traj.json" %s </dev/null
code=$?
rm -f "$base.yaml"
[ ! -f "$base.traj.json" ] || awk '
    /^    "exit_status": "/ { split($0, part, "\\""); status = part[4] }
    /^      "instance_cost": [0-9]/ { cost = $2 + 0 }
    /^      "api_calls": [0-9]/ { calls = $2 + 0 }
    /^ +"prompt_tokens": [0-9]/ { sent += $2 }
    /^ +"completion_tokens": [0-9]/ { received += $2 }
    /^ +"cached_tokens": [0-9]/ { cached += $2 }
    /^ +"reasoning_tokens": [0-9]/ { thought += $2 }
    END {
        printf "{\\"mini\\": {\\"exit_status\\": \\"%%s\\", \\"instance_cost\\": %%f, ", status, cost
        printf "\\"api_calls\\": %%d, \\"prompt_tokens\\": %%d, ", calls, sent
        printf "\\"completion_tokens\\": %%d, \\"cached_tokens\\": %%d, ", received, cached
        printf "\\"reasoning_tokens\\": %%d}}\\n", thought
    }' "$base.traj.json"
rm -f "$base.traj.json"
exit "$code"
"""
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON leaves as they are, and YAML refuses or folds."""


class Mini:
    """Runs ``mini`` without questions; it cannot resume a conversation."""

    name: Final = MINI.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that prints one more line after mini has ended, and exits with the exit code of mini."""
        if request.resume_session_id is not None:
            raise InvalidInput("mini-swe-agent cannot go on with a conversation", field="session_id")
        prompt_for_model(request)
        argv = [*program_argv(request, PROGRAM), "--yolo", "--exit-immediately"]
        if request.model is not None:
            argv += ["--model", request.model]
        task = json.dumps({"run": {"task": request.prompt}}, ensure_ascii=False)
        task = _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", task)
        script = OUTLIVE_SIGNALS + _SCRIPT % (shell_line(argv), shell_line(request.args))
        return StepPlan(script, task.encode(), _ENV)

    def reader(self, request: TurnRequest) -> MiniReader:  # noqa: ARG002 - the port's
        """Return a reader for the text that mini prints, and for the script's last line."""
        return MiniReader()
