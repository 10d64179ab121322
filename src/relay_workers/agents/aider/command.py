"""The executor for aider, which gets one message per turn and asks no questions (tried with 0.86.2)."""

from typing import Final

from relay_core.domain.agents.executors import AIDER, AUTO, PLAN
from relay_workers.agents.aider.reader import NO_SUCH_CONVERSATION, AiderReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.agent_reader import may_write
from relay_workers.agents.shared.command_line import (
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)

PROGRAM = "aider"
_QUIET = (
    "--yes-always",
    "--no-pretty",
    "--no-check-update",
    "--analytics-disable",
    "--no-show-model-warnings",
    "--no-show-release-notes",
    "--no-gitignore",
    "--disable-playwright",
    # Relay itself commits the work tree after the turn, with the turn's summary; `args` can enable commits by aider.
    "--no-auto-commits",
    "--no-dirty-commits",
)
_PERMISSIONS = {
    AUTO: (),
    # In this mode aider answers and edits nothing.
    PLAN: ("--chat-mode", "ask"),
}
_ENV = {
    # Without this, aider downloads a list of prices.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # Number of characters after which aider wraps its own lines.
    "COLUMNS": "4000",
}

# If git's configuration contains no user name, aider writes "Your Name" into the configuration of the clone. The
# variables GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL take precedence over the configuration.
_WHO = b"""\
git config user.name >/dev/null || git config --global user.name "${GIT_AUTHOR_NAME:-Relay}"
git config user.email >/dev/null || git config --global user.email "${GIT_AUTHOR_EMAIL:-relay@localhost}"
"""
# Each conversation is a file in the home directory. aider's cache is in the clone: these lines make git ignore it.
_KEEP = b"""\
dir="$HOME/.aider/relay"
mkdir -p "$dir"
exclude=$(git rev-parse --git-path info/exclude 2>/dev/null) && mkdir -p "${exclude%/*}" &&
    { grep -qxF '/.aider.tags.cache.*/' "$exclude" 2>/dev/null || echo '/.aider.tags.cache.*/' >>"$exclude"; }
if [ -z "${OPENAI_API_BASE-}" ] && [ -n "${OPENAI_BASE_URL-}" ]; then export OPENAI_API_BASE="$OPENAI_BASE_URL"; fi
"""
_BEGIN = b"id=$(cat /proc/sys/kernel/random/uuid)\n"
_RESUME = b"""\
if [ ! -s "$dir/$id.md" ]; then
    echo "There is no conversation $id in $dir"
    exit %d
fi
"""
_SAY = b'echo "Conversation $id"\n'
_FILES = b'--chat-history-file "$dir/$id.md" --input-history-file "$dir/$id.input" --message-file /dev/stdin'


class Aider:
    """Runs ``aider --message-file`` with the prompt on standard input, so the length of a prompt is not limited."""

    name: Final = AIDER.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the program that the image must contain; none if ``command`` is a path in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return a script that prepares aider's files and starts aider with `exec`, so that signals reach aider."""
        prompt = prompt_for_model(request)
        argv = [*program_argv(request, PROGRAM), *_QUIET, *_PERMISSIONS[request.permission_mode or AUTO]]
        if request.model is not None:
            argv += ["--model", request.model]
        begin = _BEGIN
        if resumed := resumed_uuid(request):
            begin = b"id=%s\n%s" % (resumed.encode(), _RESUME % NO_SUCH_CONVERSATION)
            argv.append("--restore-chat-history")
        line = b" ".join((b"exec", shell_line(argv), _FILES, shell_line(request.args))).rstrip()
        return StepPlan(_KEEP + _WHO + begin + _SAY + line + b"\n", prompt, _ENV)

    def reader(self, request: TurnRequest) -> AiderReader:
        """Return a reader for the text that aider prints."""
        return AiderReader(may_write=may_write(request))
