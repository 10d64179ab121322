"""What a coding agent is to the runner: a plan to start it, and a reader that understands what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason


@dataclass(frozen=True)
class TurnRequest:
    """One turn of an agent."""

    prompt: str
    command: str | None = None
    """The command line to run, or the program in place of the agent's own (`ExecutorKind.command_is_program`)."""
    resume_session_id: str | None = None
    """The agent's own id of the conversation to go on with: the newest `agent_session_id` that a turn of it had."""
    as_root: bool = False
    """Whether it runs as uid 0 inside the container."""
    model: str | None = None
    """As the agent spells it; None: its own default."""
    reasoning_effort: str | None = None
    permission_mode: str | None = None
    """One of the executor's `permission_modes`; None: the first."""
    args: tuple[str, ...] = ()
    """More arguments, put before the prompt."""
    begins_anew: bool = False
    """A follow-up of a session whose earlier turns have left no conversation to go on with."""

    @classmethod
    def of(
        cls, choice: ExecutorChoice, prompt: str, *, resume_session_id: str | None = None, as_root: bool = False
    ) -> "TurnRequest":
        """The turn of a session that has made this choice."""
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
    """How to start it: bytes for two files and an environment."""

    script: bytes
    """For ``/bin/sh FILE``; holds neither the prompt nor anything secret."""
    stdin: bytes
    """The whole standard input: the prompt, however long."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Defaults: values that the client gives win."""


@dataclass(frozen=True)
class Verdict:
    """Whether the agent did what it was asked for; why not, where it did not."""

    success: bool
    reason: Reason | None = None
    message: str | None = None
    """For people: the agent's own words where it had some, at most 4 KiB."""
    last_error: str | None = None
    """The last error that the agent told and did not overcome: the cause of a turn that a cap has ended."""

    @classmethod
    def failed(cls, reason: Reason, message: str | None) -> "Verdict":
        """It did not."""
        return cls(success=False, reason=reason, message=message)


class TurnReader(Protocol):
    """Understands an agent's standard output while it is being written.

    Feed it the bytes that the agent wrote, in order, in pieces of any size, as far as they are stored; what it makes of
    them is masked by whoever stores it. Whoever adopts a run feeds a new reader from offset 0. Takes linear time and
    bounded memory; bytes it cannot make sense of are passed over, never an error. After the last byte, `verdict` closes
    it; before, the properties tell what was understood so far, which is what is known of a run that was killed.
    """

    @property
    def agent_session_id(self) -> str | None:
        """The agent's id of this conversation, once it can be resumed."""
        ...

    @property
    def agent_message_id(self) -> str | None:
        """The agent's id of its last message, where it has ids and the turn came to an end."""
        ...

    @property
    def summary(self) -> str | None:
        """Its last words: text of at most 4 KiB (UTF-8), without control characters; None where it said nothing."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """What the turn used, by name (tokens, cost_usd, …); empty where the agent does not say."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        ...

    def entries(self) -> Sequence[Entry]:
        """What is new or changed in the conversation since this was last asked, in the order of `sequence`.

        Ask after each `feed` and after `verdict`. The entries of an executor without a protocol are none.
        """
        ...

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Judge the ended turn.

        Args:
            exit_code: None: nobody knows it.
            stderr: the end of its standard error.
            stopped: Relay has ended it (a kill, a cap).
        """
        ...


class Executor(Protocol):
    """A coding agent, or what stands in for one. Stateless: one instance serves all runs."""

    @property
    def name(self) -> str:
        """As requests spell it."""
        ...

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Programs that the image must hold (`programs.probe` looks for them before the clone).

        Raises:
            InvalidInput: the request cannot be carried out as written.
        """
        ...

    def plan(self, request: TurnRequest) -> StepPlan:
        """How to start this turn.

        Raises:
            InvalidInput: the request cannot be carried out as written.
        """
        ...

    def reader(self, request: TurnRequest) -> TurnReader:
        """A reader for one run of this turn."""
        ...


def prompt_bytes(request: TurnRequest) -> bytes:
    """The prompt as standard input.

    Raises:
        InvalidInput: it holds half of a surrogate pair, which no encoding can carry.
    """
    try:
        return request.prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("prompt is not valid Unicode: it holds half of a surrogate pair", field="prompt") from error


def exit_verdict(program: str, exit_code: int | None) -> Verdict:
    """What an exit code says by itself."""
    if exit_code == 0:
        return Verdict(success=True)
    if exit_code is None:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} ended, and its exit code is not known")
    if exit_code in {126, 127}:
        return Verdict.failed(Reason.EXIT_CODE, f"{program} could not be started (exit code {exit_code}); see stderr")
    signal = f", as a program does that signal {exit_code - 128} ended" if 128 < exit_code < 160 else ""
    return Verdict.failed(Reason.EXIT_CODE, f"{program} ended with exit code {exit_code}{signal}")
