"""The contract between the runner and a coding agent: a plan that starts the agent, a reader that understands it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason


@dataclass(frozen=True)
class TurnRequest:
    """One turn of an agent: a prompt, and how the agent is to be run for it."""

    prompt: str
    command: str | None = None
    """The command line to run, or the program in place of the agent's own (`ExecutorKind.command_is_program`)."""
    resume_session_id: str | None = None
    """The agent's own id of the conversation to resume: the newest `agent_session_id` that a turn of the session had.

    None starts a new conversation.
    """
    as_root: bool = False
    """Whether the agent runs as uid 0 inside the container."""
    model: str | None = None
    """Name of the model as the agent spells it; None leaves the choice to the agent."""
    reasoning_effort: str | None = None
    """One of the executor's `reasoning_efforts`; None leaves the choice to the agent."""
    permission_mode: str | None = None
    """One of the executor's `permission_modes`; None means the first."""
    args: tuple[str, ...] = ()
    """Further arguments of the agent's program."""
    begins_anew: bool = False
    """Whether this turn follows others of its session, none of which left a conversation that could be resumed."""

    @classmethod
    def of(
        cls, choice: ExecutorChoice, prompt: str, *, resume_session_id: str | None = None, as_root: bool = False
    ) -> "TurnRequest":
        """Make the request for a turn of a session whose executor choice is `choice`."""
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
    """All that the supervisor needs to start a turn: the content of two files, and environment variables."""

    script: bytes
    """A script for ``/bin/sh FILE``, or with a ``#!`` line for its interpreter; it never contains the prompt or a
    secret."""
    stdin: bytes
    """The whole standard input of the script. It carries the prompt, whose length is therefore not limited."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables with default values: a value that the client gives replaces them."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on an ended turn: success, or a failure with its reason."""

    success: bool
    reason: Reason | None = None
    """Why the turn failed; None for a success."""
    message: str | None = None
    """Explanation for people, in the agent's own words where it gave any; at most 4 KiB of UTF-8."""
    last_error: str | None = None
    """The last error that the agent reported and did not recover from. For a turn that Relay ended at a limit it names
    the probable cause."""

    @classmethod
    def failed(cls, reason: Reason, message: str | None) -> "Verdict":
        """Make the verdict on a turn that failed."""
        return cls(success=False, reason=reason, message=message)


class TurnReader(Protocol):
    """Understands an agent's standard output while the agent writes it.

    The caller feeds the bytes in the order in which the agent wrote them, in pieces of any size, and only bytes that
    are already stored. A worker that adopts an execution feeds a new reader from offset 0. The caller masks secrets in
    what the reader returns.

    A reader takes linear time and bounded memory. It skips bytes that it does not understand and never raises for them.
    `verdict` closes the reader after the last byte; before that, the properties hold what is understood so far, which
    is all there is for an execution that was killed.
    """

    @property
    def agent_session_id(self) -> str | None:
        """The agent's own id of this conversation; None until the agent would be able to resume it."""
        ...

    @property
    def agent_message_id(self) -> str | None:
        """The agent's own id of its last message; None if the agent has no such ids or the turn did not complete."""
        ...

    @property
    def summary(self) -> str | None:
        """The agent's last message: at most 4 KiB of UTF-8 without control characters; None if there was none."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """Amounts that the turn used by name (tokens, cost_usd, …); empty if the agent does not report them."""
        ...

    def feed(self, data: bytes) -> None:
        """Read the next bytes of standard output."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Return the entries that are new or changed since the last call, in the order of their `sequence`.

        To be called after each `feed` and after `verdict`. An executor whose output has no structure returns none.
        """
        ...

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Judge the turn after its last byte was fed.

        Args:
            exit_code: exit code of the plan's script; None if it is not known.
            stderr: the last bytes of the script's standard error.
            stopped: whether Relay ended the turn (a kill request, or a limit).
        """
        ...


class Executor(Protocol):
    """A kind of coding agent, or the shell in place of one. Stateless: one instance serves all executions."""

    @property
    def name(self) -> str:
        """The name of the executor in requests and in `relay_core.domain.agents.executors`."""
        ...

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return the programs that the image must contain; `programs.probe` looks for them before the clone.

        Raises:
            InvalidInput: this executor cannot carry out the request.
        """
        ...

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return the script, standard input and environment that carry out this turn.

        Raises:
            InvalidInput: this executor cannot carry out the request.
        """
        ...

    def reader(self, request: TurnRequest) -> TurnReader:
        """Return a new reader for the output of one execution of this turn."""
        ...


def prompt_bytes(request: TurnRequest) -> bytes:
    """Encode the prompt as UTF-8.

    Raises:
        InvalidInput: the prompt contains half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        return request.prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("prompt is not valid Unicode: it holds half of a surrogate pair", field="prompt") from error


def exit_code_verdict(program: str, exit_code: int | None) -> Verdict:
    """Judge a program by its exit code alone: 0 is a success, any other or an unknown one a failure."""
    if exit_code == 0:
        return Verdict(success=True)
    if exit_code is None:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} ended, and its exit code is not known")
    if exit_code in {126, 127}:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} could not be started (exit code {exit_code}); see stderr")
    signal = f", as a program does that signal {exit_code - 128} ended" if 128 < exit_code < 160 else ""
    return Verdict.failed(Reason.EXIT_CODE, f"{program} ended with exit code {exit_code}{signal}")
