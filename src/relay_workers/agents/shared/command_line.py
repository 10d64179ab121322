"""Build the command line and standard input for executors that start an agent's own program."""

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
"""Lines of a shell script that make the standard output of a Node.js program a blocking pipe.

Some of these programs exit before the pipe has accepted all of their output: with a slow reader, more than 64 KiB of
lines, including the result line, were lost. With a blocking pipe, nothing is lost.

Child processes get the original NODE_OPTIONS, because an older Node.js would refuse the option; the exception is the
child that the launcher of Qwen Code starts (cli-entry.js). The JavaScript code must not contain a space or a double
quote, because NODE_OPTIONS has its own quoting rules.
"""

OUTLIVE_SIGNALS = b"trap : TERM INT HUP\n"
"""Line of a shell script that makes the script continue after a signal, so that it can print more output afterwards.

Relay sends signals to every process of an execution, so the agent's program receives them as well. The script must run
the program in the foreground: the shell starts background processes with SIGINT ignored, and their children inherit
that.
"""

CODEX_NO_SNAPSHOTS = ("-c", "features.shell_snapshot=false")
"""Arguments of Codex and of its ACP adapter that prevent a snapshot of the shell's environment.

The snapshot would contain all environment variables, keys included, in a file of the home directory that every later
step can read.
"""


def program_argv(request: TurnRequest, program: str) -> tuple[str, ...]:
    """Return the first words of the agent's command line: `program`, or the request's ``command`` that replaces it."""
    return program_words(request.command) if request.command else (program,)


def required_program(request: TurnRequest, program: str) -> tuple[str, ...]:
    """Return the program that the image must contain, as a tuple of one name.

    The tuple is empty if the request's ``command`` is a relative path: such a file is in the repository, which is not
    cloned yet when the image is checked.

    Args:
        request: the turn.
        program: the agent's own program, used if the request has no ``command``.
    """
    first = program_argv(request, program)[0]
    return () if "/" in first and not first.startswith("/") else (first,)


COMMAND_SIGNS = (b"/", b"!", b"?")
"""First characters of a prompt that at least one agent takes for a command to itself (``/clear``, ``!ls``)."""


def prompt_for_model(request: TurnRequest) -> bytes:
    """Return the prompt as standard input, in a form that no supported agent takes for one of its own commands.

    A prompt that begins with one of `COMMAND_SIGNS` gets a line break in front. Without it, the agent would handle the
    prompt itself and not ask the model, or would drop it from a resumed conversation.

    Raises:
        InvalidInput: the prompt is blank, or cannot be encoded as UTF-8.
    """
    if not request.prompt.strip():
        raise InvalidInput("prompt is empty: a coding agent needs one", field="prompt")
    prompt = prompt_bytes(request)
    return b"\n" + prompt if prompt.startswith(COMMAND_SIGNS) else prompt


def resumed_uuid(request: TurnRequest) -> str | None:
    """Return the id of the conversation to resume, for agents whose ids are UUIDs; None for a new conversation.

    Raises:
        InvalidInput: the id is not a UUID; the agent might read it as a title or a list position.
    """
    session_id = request.resume_session_id
    if session_id is not None and not _UUID.fullmatch(session_id):
        raise InvalidInput("the agent's session id is no UUID: this conversation cannot be resumed", field="session_id")
    return session_id


def resumed_message(request: TurnRequest) -> str | None:
    """Return the id of the message after which a conversation goes on, for agents whose ids are UUIDs; None: the last.

    Raises:
        InvalidInput: the id is not a UUID; the agent might read it as an option.
    """
    message_id = request.resume_message_id
    if message_id is not None and not _UUID.fullmatch(message_id):
        raise InvalidInput("the agent's message id is no UUID: nothing can be resumed there", field="session_id")
    return message_id


def shell_line(argv: Sequence[str]) -> bytes:
    """Return the arguments as one quoted command line for a shell script, encoded as UTF-8.

    Raises:
        InvalidInput: an argument contains half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        return shlex.join(argv).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("executor.args are not valid Unicode", field="executor.args") from error
