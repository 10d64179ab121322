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
    "MSWEA_CONFIGURED": "true",  # otherwise mini asks for a model and a key
    "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_COST_TRACKING": "ignore_errors",  # a model without a known price is not an error
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "5",  # mini repeats a request after any error: after 4, 4, 4 and 8 s
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise mini downloads a list of prices
    "COLUMNS": "500",  # number of characters after which mini wraps its lines
}

# mini reads the prompt from its command line or from its configuration file; only the file has no length limit. mini
# stores how the turn ended only in its trajectory file. So the script prints, also after a signal, one line with the
# exit status and the token counts from that file.
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
"""Matches characters that `json.dumps` does not escape but that YAML refuses or changes."""


class Mini:
    """Runs ``mini`` so that it asks no questions. mini cannot resume a conversation."""

    name: Final = MINI.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that runs mini, prints how the turn ended and its usage, and exits with mini's exit code.

        Raises:
            InvalidInput: the request resumes a conversation, or its prompt or arguments are not valid.
        """
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

    def reader(self, request: TurnRequest) -> MiniReader:  # noqa: ARG002 - required by the interface
        """Return a reader for the text that mini prints and for the last line of the script."""
        return MiniReader()
