"""Command lines and standard input of executors that start an agent's own program."""

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
"""Lines of a script that make standard output of a Node.js program a blocking pipe.

Some of these programs exit without waiting until the pipe has taken all of their output: with a slow reader, more than
64 KiB of lines, the result line among them, were lost. A blocking pipe loses nothing.

Child processes get the original NODE_OPTIONS, because an older Node.js would refuse the option; the exception is the
child that the launcher of Qwen Code starts (cli-entry.js). The code must not contain a blank or a double quote, because
NODE_OPTIONS has a quoting of its own.
"""

OUTLIVE_SIGNALS = b"trap : TERM INT HUP\n"
"""Line of a script that has work left after its program has ended, also when a signal ended the program.

Relay sends signals to every process of an execution, so the program receives them too. The program must run in the
foreground: the shell starts background processes with SIGINT ignored, and their children inherit that.
"""

CODEX_NO_SNAPSHOTS = ("-c", "features.shell_snapshot=false")
"""Arguments of Codex, also of its ACP adapter. Without them it writes its environment variables, keys included, into a
file of the home directory that every later step can read."""


def program_argv(request: TurnRequest, program: str) -> tuple[str, ...]:
    """Return the first words of the command line: the agent's own program, or the ``command`` that replaces it."""
    return program_words(request.command) if request.command else (program,)


def required_program(request: TurnRequest, program: str) -> tuple[str, ...]:
    """Return the program that the image must contain.

    The result is empty if ``command`` names a relative path: that file is in the repository, which is not cloned yet.
    """
    first = program_argv(request, program)[0]
    return () if "/" in first and not first.startswith("/") else (first,)


COMMAND_SIGNS = (b"/", b"!", b"?")
"""Characters that begin a command of the agent itself (``/clear``, ``!ls``), for at least one agent."""


def prompt_for_model(request: TurnRequest) -> bytes:
    """Return the prompt as standard input, so that no agent takes it for one of its own commands.

    A prompt that begins with a command sign gets a line break before it, which prevents that in every supported agent.
    An agent would answer a command without asking the model, or drop it when the conversation is resumed.

    Raises:
        InvalidInput: the prompt is blank, or cannot be encoded as UTF-8.
    """
    if not request.prompt.strip():
        raise InvalidInput("prompt is empty: a coding agent needs one", field="prompt")
    prompt = prompt_bytes(request)
    return b"\n" + prompt if prompt.startswith(COMMAND_SIGNS) else prompt


def resumed_uuid(request: TurnRequest) -> str | None:
    """Return the id of the conversation to resume, for an agent whose ids are UUIDs; None to begin a new one.

    Raises:
        InvalidInput: the id is no UUID; the agent might read it as a title or a list position.
    """
    session_id = request.resume_session_id
    if session_id is not None and not _UUID.fullmatch(session_id):
        raise InvalidInput("the agent's session id is no UUID: this conversation cannot be resumed", field="session_id")
    return session_id


def shell_line(argv: Sequence[str]) -> bytes:
    """Quote arguments as one command line for a shell script.

    Raises:
        InvalidInput: an argument contains half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        return shlex.join(argv).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("executor.args are not valid Unicode", field="executor.args") from error
