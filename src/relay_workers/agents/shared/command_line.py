"""What the executors that start a program of their own have in common: its words, and what they refuse."""

import re
import shlex
from collections.abc import Sequence

from relay_core.domain.agents.executors import program_words
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.port import TurnRequest, prompt_bytes

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


FLUSH_NODE_OUTPUT = rb"""js='process.stdout._handle?.setBlocking?.(true);'
js="$js"'if(!/cli-entry.js$/.test(process.argv[1]))'
js="$js"'process.env.NODE_OPTIONS=process.env.NODE_OPTIONS.replace(/.--import=data:.*/,[])'
export NODE_OPTIONS="${NODE_OPTIONS-} --import=data:text/javascript,$js"
"""
"""For programs on Node.js that end without waiting for what a pipe has not taken yet: over 64 KiB of their lines, the
result among them, were lost where the reader lagged. With a blocking pipe they are not.

Programs that they start see NODE_OPTIONS as it was (an older Node.js would refuse the option), but for the child of a
launcher, which Qwen Code has. No blank and no double quote may be in it: NODE_OPTIONS has a quoting of its own.
"""


OUTLIVE_SIGNALS = b"trap : TERM INT HUP\n"
"""For scripts that do something after their program has ended, whatever ended it.

Relay's signals reach every process of an execution, so the program hears them by itself, in the foreground: one that a
shell starts in the background ignores SIGINT, and so do its children.
"""


def program_argv(request: TurnRequest, program: str) -> tuple[str, ...]:
    """The words that start it: the agent's own program, or what ``command`` names in its place."""
    return program_words(request.command) if request.command else (program,)


def required_program(request: TurnRequest, program: str) -> tuple[str, ...]:
    """What the image must hold; nothing where ``command`` names a path in the repository: that is not cloned yet."""
    first = program_argv(request, program)[0]
    return () if "/" in first and not first.startswith("/") else (first,)


COMMAND_SIGNS = (b"/", b"!", b"?")
"""What begins a command of an agent's own (``/clear``, ``!ls``), in one agent or another."""


def prompt_for_model(request: TurnRequest) -> bytes:
    """The prompt as standard input: text for the model, never a command of the agent's own.

    A line break before the sign keeps it from being one, in every agent that was tried. A command would be answered
    without the model, or be forgotten when the conversation goes on.

    Raises:
        InvalidInput: it says nothing, or cannot be encoded.
    """
    if not request.prompt.strip():
        raise InvalidInput("prompt is empty: a coding agent needs one", field="prompt")
    prompt = prompt_bytes(request)
    return b"\n" + prompt if prompt.startswith(COMMAND_SIGNS) else prompt


def resumed_uuid(request: TurnRequest) -> str | None:
    """The conversation to go on with, of an agent whose ids are UUIDs.

    Raises:
        InvalidInput: it is no UUID, which the agent might take for something else.
    """
    given = request.resume_session_id
    if given is not None and not _UUID.fullmatch(given):
        raise InvalidInput("the agent's session id is no UUID: this conversation cannot be resumed", field="session_id")
    return given


def shell_line(argv: Sequence[str]) -> bytes:
    """Words as a line of a script.

    Raises:
        InvalidInput: one of them holds half of a surrogate pair, which no argument can carry.
    """
    try:
        return shlex.join(argv).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("executor.args are not valid Unicode", field="executor.args") from error
