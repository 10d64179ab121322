"""The executor for opencode, in its non-interactive mode (tried with 1.18.33)."""

import json
import re
from typing import Any, Final

from relay_core.domain.agents.executors import AUTO, OPENCODE, PLAN
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.opencode.reader import OpenCodeReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import program_argv, prompt_for_model, required_program, shell_line
from relay_workers.agents.shared.turn_rules import may_write

PROGRAM = "opencode"
PROVIDER = "relay"
"""Name of the provider at the run's own OPENAI_BASE_URL."""
_SESSION_ID = re.compile(r"ses_[A-Za-z0-9]{1,100}")
_AGENTS: dict[str, tuple[str, ...]] = {AUTO: (), PLAN: ("--agent", "plan")}
_PERMISSIONS: dict[str, Any] = {
    AUTO: "allow",
    # Its own plan agent is only told not to write, and may run any command.
    PLAN: {"*": "allow", "edit": "deny", "bash": "deny"},
}
_HOLD_PLAN = b"""\
if [ "$OPENCODE_CONFIG_CONTENT" != %s ]; then
  echo "error: the run or its profile gives OPENCODE_CONFIG_CONTENT, which would take the mode 'plan' away" >&2
  exit 64
fi
"""
"""Its plan is a part of the configuration that goes over all others."""
_TITLE = ("--title", "Relay")
"""Of a new conversation; it would ask the model for one otherwise."""
_ENV = {"OPENCODE_DISABLE_AUTOUPDATE": "true", "OPENCODE_DISABLE_LSP_DOWNLOAD": "true"}


class OpenCode:
    """Runs ``opencode run`` with the prompt on standard input.

    A model is named ``provider/model`` as opencode does; ``openai/…`` is asked through the Responses API. A name
    without a provider (or with "relay") is served at OPENAI_BASE_URL through the Chat API. Without a model opencode
    takes one of a provider that it has a key of.
    """

    name: Final = OPENCODE.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """The command line as one `exec`, so that signals reach the program itself; its configuration as variable."""
        line = shell_line([*program_argv(request, PROGRAM), *_arguments(request)])
        config = json.dumps(_config(request))
        env = {**_ENV, "OPENCODE_CONFIG_CONTENT": config}
        hold = _HOLD_PLAN % shell_line([config]) if request.permission_mode == PLAN else b""
        return StepPlan(b"%sexec %s\n" % (hold, line), prompt_for_model(request), env)

    def reader(self, request: TurnRequest) -> OpenCodeReader:
        """Understands the JSON lines of ``run --format json``."""
        return OpenCodeReader(request.resume_session_id, may_write=may_write(request))


def _arguments(request: TurnRequest) -> list[str]:
    arguments = ["run", "--format", "json", "--thinking", *_AGENTS[request.permission_mode or AUTO]]
    if request.model is not None:
        own = _own_model(request.model)
        arguments += ["--model", request.model if own is None else f"{PROVIDER}/{own}"]
    if request.reasoning_effort is not None:
        arguments += ["--variant", request.reasoning_effort]
    if (resumed := request.resume_session_id) is not None:
        if not _SESSION_ID.fullmatch(resumed):
            message = "the agent's session id is none of opencode's: this conversation cannot be resumed"
            raise InvalidInput(message, field="session_id")
        arguments += ["--session", resumed]
    else:
        arguments += _TITLE
    return [*arguments, *request.args]


def _config(request: TurnRequest) -> dict[str, Any]:
    """What goes over the configuration of the user and of the repository; holds names of variables, no values."""
    permission = _PERMISSIONS[request.permission_mode or AUTO]
    config: dict[str, Any] = {"autoupdate": False, "share": "disabled", "snapshot": False, "permission": permission}
    if request.permission_mode == PLAN:
        # Of the rules that fit the last one counts: one for "*" would come behind a repository's own.
        config |= {"agent": {"plan": {"permission": {"edit": "deny", "bash": "deny"}}}}
    own = _own_model(request.model or "")
    if own:
        effort = request.reasoning_effort
        # An effort is a variant of a model, and a model of ours has those that it is told of.
        variants = {"reasoning": True, "variants": {effort: {"reasoningEffort": effort}}} if effort else {}
        served = {
            "npm": "@ai-sdk/openai-compatible",
            "name": PROVIDER,
            # The key by its name: put into this text, one with a quote in it would break it.
            "env": ["OPENAI_API_KEY"],
            "options": {"baseURL": "{env:OPENAI_BASE_URL}"},
            "models": {own: {"name": own, **variants}},
        }
        config |= {"provider": {PROVIDER: served}}
    return config


def _own_model(model: str) -> str | None:
    """The name of a model at OPENAI_BASE_URL; None for a model of another provider."""
    provider, slash, name = model.partition("/")
    if not slash:
        return model
    return name if provider == PROVIDER else None
