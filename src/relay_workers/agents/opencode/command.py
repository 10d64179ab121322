"""The executor for opencode, in its non-interactive mode (tried with 1.18.33)."""

import json
import re
from typing import Any, Final

from relay_core.domain.agents.executors import AUTO, OPENCODE, PLAN
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.opencode.reader import OpenCodeReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import program_argv, prompt_for_model, required_program, shell_line

PROGRAM = "opencode"
PROVIDER = "relay"
"""Name in opencode's configuration for the model provider at OPENAI_BASE_URL (a variable of the step's environment)."""
_SESSION_ID = re.compile(r"ses_[A-Za-z0-9]{1,100}")
_AGENTS: dict[str, tuple[str, ...]] = {AUTO: (), PLAN: ("--agent", "plan")}
_PERMISSIONS: dict[str, Any] = {
    AUTO: "allow",
    # opencode's own agent "plan" is only asked not to write, and may run any command.
    PLAN: {"*": "allow", "edit": "deny", "bash": "deny"},
}
_HOLD_PLAN = b"""\
if [ "$OPENCODE_CONFIG_CONTENT" != %s ]; then
  echo "error: the run or its profile gives OPENCODE_CONFIG_CONTENT, which would override the mode 'plan'" >&2
  exit 64
fi
"""
"""Lines of the script that stop the step if the client's environment replaces the configuration.

The configuration contains the permissions of the mode "plan".
"""
_MODALITIES = {"input": ["text", "image"], "output": ["text"]}
_TITLE = ("--title", "Relay")
"""Arguments with the title of a new conversation; without a title, opencode asks the model for one."""
_ENV = {"OPENCODE_DISABLE_AUTOUPDATE": "true", "OPENCODE_DISABLE_LSP_DOWNLOAD": "true"}


class OpenCode:
    """Runs ``opencode run`` with the prompt on standard input.

    A request names a model as opencode does: ``provider/model``. For ``openai/…``, opencode uses the Responses API. For
    a name without a provider, or with the provider "relay", opencode uses the Chat API at OPENAI_BASE_URL. If the
    request names no model, opencode chooses a model of a provider for which it has a key.
    """

    name: Final = OPENCODE.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that starts opencode, and an environment variable with opencode's configuration.

        The script ends with `exec`, so that signals reach opencode itself.

        Raises:
            InvalidInput: this executor cannot carry out the request.
        """
        line = shell_line([*program_argv(request, PROGRAM), *_arguments(request)])
        config = json.dumps(_config(request))
        env = {**_ENV, "OPENCODE_CONFIG_CONTENT": config}
        hold = _HOLD_PLAN % shell_line([config]) if request.permission_mode == PLAN else b""
        return StepPlan(b"%sexec %s\n" % (hold, line), prompt_for_model(request), env)

    def reader(self, request: TurnRequest) -> OpenCodeReader:
        """Return a reader for the JSON lines that opencode prints."""
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
    return [*arguments, *(f"--file={path}" for path in request.images), *request.args]


def _config(request: TurnRequest) -> dict[str, Any]:
    """Return the configuration that takes precedence over the user's and the repository's; it contains no secret."""
    permission = _PERMISSIONS[request.permission_mode or AUTO]
    config: dict[str, Any] = {"autoupdate": False, "share": "disabled", "snapshot": False, "permission": permission}
    if request.permission_mode == PLAN:
        # The last matching rule counts. A rule for "*" would come after the rules of the repository and replace them,
        # so there is none here.
        config |= {"agent": {"plan": {"permission": {"edit": "deny", "bash": "deny"}}}}
    own = _own_model(request.model or "")
    if own:
        effort = request.reasoning_effort
        # In opencode, an effort is a variant of a model. A model of this provider has only the variants listed here.
        variants = {"reasoning": True, "variants": {effort: {"reasoningEffort": effort}}} if effort else {}
        served = {
            "npm": "@ai-sdk/openai-compatible",
            "name": PROVIDER,
            # The configuration names the variable with the key: a key with a quote as a value would break the JSON.
            "env": ["OPENAI_API_KEY"],
            "options": {"baseURL": "{env:OPENAI_BASE_URL}"},
            # Without these words opencode sends the model a sentence in place of an image.
            "models": {own: {"name": own, "attachment": True, "modalities": _MODALITIES, **variants}},
        }
        config |= {"provider": {PROVIDER: served}}
    return config


def _own_model(model: str) -> str | None:
    """Return the model's name without provider if it is a model at OPENAI_BASE_URL; None for other providers."""
    provider, slash, name = model.partition("/")
    if not slash:
        return model
    return name if provider == PROVIDER else None
