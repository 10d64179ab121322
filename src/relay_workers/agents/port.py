"""The interface between the runner and a coding agent: a plan that starts the agent, a reader of the agent's output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason


@dataclass(frozen=True)
class TurnRequest:
    """One turn of an agent: the prompt, and the settings with which the agent runs."""

    prompt: str
    command: str | None = None
    """A program with arguments that replaces the agent's own, or a whole script (`ExecutorKind.command_is_program`).

    None runs the agent's own program.
    """
    resume_session_id: str | None = None
    """The agent's own id of the conversation to resume: the newest `agent_session_id` of the session's earlier turns.

    None starts a new conversation.
    """
    as_root: bool = False
    """Whether the agent runs as uid 0 inside the container."""
    model: str | None = None
    """Name of the model as the agent spells it; None lets the agent choose."""
    reasoning_effort: str | None = None
    """One of the executor's `reasoning_efforts`; None lets the agent choose."""
    permission_mode: str | None = None
    """One of the executor's `permission_modes`; None means the first of them."""
    args: tuple[str, ...] = ()
    """Arguments that the client adds to the command line of the agent's program."""
    resume_message_id: str | None = None
    """The agent's own id of the message after which the conversation goes on; later ones are forgotten.

    None: after its last one. Only for executors with `ExecutorKind.rewinds`.
    """
    images: tuple[str, ...] = ()
    """Paths of the images that this turn is about, relative to the directory of the agent; the prompt names them, too.

    They have only letters, digits and `.`, `-`, `/`, and begin with a dot.
    """
    begins_anew: bool = False
    """Whether the session has earlier turns, but none of them left a conversation that the agent can resume."""

    @classmethod
    def of(
        cls, choice: ExecutorChoice, prompt: str, *, resume_session_id: str | None = None, as_root: bool = False
    ) -> "TurnRequest":
        """Return the request for one turn of a session.

        Args:
            choice: the executor settings of the session.
            prompt: the prompt of the turn.
            resume_session_id: the agent's id of the conversation to resume; None starts a new one.
            as_root: whether the agent runs as uid 0 inside the container.
        """
        return cls(
            prompt,
            choice.command,
            resume_session_id,
            as_root,
            choice.model,
            choice.reasoning_effort,
            choice.permission_mode,
            choice.args,
        )


@dataclass(frozen=True)
class StepPlan:
    """The script, the standard input and the environment variables with which a turn is started."""

    script: bytes
    """A script for ``/bin/sh``; a script with a ``#!`` line runs with that interpreter.

    It never contains the prompt or a secret.
    """
    stdin: bytes
    """The whole standard input of the script. It contains the prompt, so the length of a prompt is not limited."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Default values of environment variables; a client's value for the same name takes precedence."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on a finished turn: success, or failure with a reason."""

    success: bool
    reason: Reason | None = None
    """Why the turn failed; None for a success."""
    message: str | None = None
    """Explanation for people, quoted from the agent if the agent gave one; at most 4 KiB of UTF-8."""
    last_error: str | None = None
    """The last error that the agent reported and did not recover from; None if there was none.

    For a turn that Relay stopped at a limit, this is the probable cause.
    """

    @classmethod
    def failed(cls, reason: Reason, message: str | None) -> "Verdict":
        """Return the verdict of a failed turn."""
        return cls(success=False, reason=reason, message=message)


class TurnReader(Protocol):
    """Parses an agent's standard output while the agent writes it.

    The caller feeds the bytes in the order in which the agent wrote them, in pieces of any size, and only bytes that
    are already stored. A worker that takes over an execution feeds a new reader from offset 0. The caller masks the
    secrets in all results of the reader.

    A reader takes linear time and bounded memory. It skips bytes that it cannot parse and never raises for them.
    `verdict` closes the reader after the last byte. Until then, the properties hold the results of the bytes read so
    far.
    """

    @property
    def agent_session_id(self) -> str | None:
        """The agent's own id of this conversation; None as long as the agent could not resume the conversation."""
        ...

    @property
    def agent_message_id(self) -> str | None:
        """The agent's own id of its last message; None if the agent prints no such ids or the turn is not complete."""
        ...

    @property
    def summary(self) -> str | None:
        """The agent's last message: at most 4 KiB of UTF-8 without control characters; None if there was none."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """Amounts that the turn used, by name (input_tokens, cost_usd, …); empty if the agent reports none."""
        ...

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of standard output."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Return the entries that are new or changed since the last call, in the order of their `sequence`.

        Call it after each `feed` and after `verdict`. The reader of plain output, such as that of a shell command,
        returns no entries.
        """
        ...

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Return the verdict on the turn; to be called once, after the last byte was fed.

        Args:
            exit_code: exit code of the plan's script; None if it is not known.
            stderr: the last bytes of the script's standard error.
            stopped: whether Relay stopped the turn (a kill request, or a limit).
        """
        ...


class Executor(Protocol):
    """Starts one kind of coding agent, or a shell command. Stateless: one instance serves all executions."""

    @property
    def name(self) -> str:
        """The name of this executor in requests and in `relay_core.domain.agents.executors`."""
        ...

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the programs that the image must contain; `programs.probe` checks for them before the clone.

        Raises:
            InvalidInput: this executor cannot carry out the request.
        """
        ...

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return the script, standard input and environment with which the turn runs.

        Raises:
            InvalidInput: this executor cannot carry out the request.
        """
        ...

    def reader(self, request: TurnRequest) -> TurnReader:
        """Return a new reader for the output of one execution of the turn."""
        ...


def prompt_bytes(request: TurnRequest) -> bytes:
    """Return the prompt encoded as UTF-8.

    Raises:
        InvalidInput: the prompt contains half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        return request.prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("prompt is not valid Unicode: it holds half of a surrogate pair", field="prompt") from error


def exit_code_verdict(program: str, exit_code: int | None) -> Verdict:
    """Return the verdict on a program by its exit code alone: 0 is a success; another or unknown code is a failure.

    Args:
        program: name of the program in the message.
        exit_code: exit code of the program; None if it is not known.
    """
    if exit_code == 0:
        return Verdict(success=True)
    if exit_code is None:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} ended, and its exit code is not known")
    if exit_code in {126, 127}:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} could not be started (exit code {exit_code}); see stderr")
    signal = f", as a program does that signal {exit_code - 128} ended" if 128 < exit_code < 160 else ""
    return Verdict.failed(Reason.EXIT_CODE, f"{program} ended with exit code {exit_code}{signal}")
