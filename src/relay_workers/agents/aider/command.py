"""The executor for aider, with one message and no questions (tried with 0.86.2)."""

from typing import Final

from relay_core.domain.agents.executors import AIDER, AUTO, PLAN
from relay_workers.agents.aider.reader import NO_SUCH_CONVERSATION, AiderReader
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.shared.command_line import (
    program_argv,
    prompt_for_model,
    required_program,
    resumed_uuid,
    shell_line,
)
from relay_workers.agents.shared.turn_rules import may_write

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
    # Relay commits what a turn leaves, with the turn's summary; `args` may say otherwise.
    "--no-auto-commits",
    "--no-dirty-commits",
)
_PERMISSIONS = {
    AUTO: (),
    # It answers, and edits nothing.
    PLAN: ("--chat-mode", "ask"),
}
_ENV = {
    # Otherwise it asks a web site for prices.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # Where it folds its own lines.
    "COLUMNS": "4000",
}

# Without a name in git's files it would write "Your Name" into the clone's; GIT_AUTHOR_NAME and the others win anyway.
_WHO = b"""\
git config user.name >/dev/null || git config --global user.name "${GIT_AUTHOR_NAME:-Relay}"
git config user.email >/dev/null || git config --global user.email "${GIT_AUTHOR_EMAIL:-relay@localhost}"
"""
# A conversation is a file. What aider keeps lies in the home, but for a cache in the clone: git is told to ignore it.
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
    """Runs ``aider --message-file`` on standard input, where the prompt's length does not matter."""

    name: Final = AIDER.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """The program, unless ``command`` names one in the repository."""
        return required_program(request, PROGRAM)

    def plan(self, request: TurnRequest) -> StepPlan:
        """Prepare its files, then the command line as one `exec`, so that signals reach the program itself."""
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
        """Understands the lines that it prints for people."""
        return AiderReader(may_write=may_write(request))
