"""The base class of all agents' readers, with the rules that every turn must keep, whatever its agent reports.

A turn is `completed` only if the agent sent a request to a model, if not all of its edits failed, and if it wrote a
message. A failed turn names its cause in the verdict and in an entry of the conversation; if the agent's output names
none, the cause is looked for in its standard error.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.agents.executors import AUTO
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest, Verdict
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.stderr import failure_cause
from relay_workers.agents.shared.transcript import Transcript

Line = TypeVar("Line")
"""One parsed line of output: a text, or a JSON object."""
Line_co = TypeVar("Line_co", covariant=True)


class LineSplitter(Protocol[Line_co]):
    """Cuts a stream of bytes into parsed lines, in bounded memory."""

    def feed(self, data: bytes) -> Iterator[Line_co]:
        """Yield the lines that end within `data`."""
        ...

    def finish(self) -> Iterator[Line_co]:
        """Yield the last line of the stream if it has no line end."""
        ...


class AgentReader(ABC, Generic[Line]):
    """Reads an agent's output line by line. A subclass understands a line (`_take_line`) and judges the turn (`judge`).

    Args:
        lines: splits the output.
        may_write: whether the turn's permission mode allows edits; if it does not, failed edits are no failure.
    """

    program: ClassVar[str]
    """Name of the agent in messages."""
    must_speak: ClassVar[bool] = True
    """Whether a turn in which the agent wrote no message is a failure."""

    def __init__(self, lines: LineSplitter[Line], *, may_write: bool = True) -> None:
        self._lines = lines
        self._may_write = may_write
        self.transcript = Transcript()
        self.refused = False
        """Whether the agent asked for a permission and did not get it."""
        self.stderr = b""
        """The last bytes of the agent's standard error; known once the turn has ended."""
        self.agent_session_id: str | None = None
        self.agent_message_id: str | None = None
        self.usage: Mapping[str, float] = {}

    @property
    def asked_model(self) -> bool:
        """Whether the agent sent a request to a model; True where its output does not tell."""
        return True

    @property
    def last_error(self) -> str | None:
        """The last error that the agent reported and did not recover from."""
        return None

    @property
    def failed_edit(self) -> str | None:
        """Why the last edit failed, if every edit of the turn failed; else None."""
        return self.transcript.failed_edit

    def feed(self, data: bytes) -> None:
        """Read the next bytes of standard output."""
        for line in self._lines.feed(data):
            self._take_line(line)

    def entries(self) -> Sequence[Entry]:
        """Return the entries that are new or changed since the last call."""
        return self.transcript.take_changes()

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Judge the turn after its last byte was fed.

        Args:
            exit_code: exit code of the plan's script; None if it is not known.
            stderr: the last bytes of standard error, at most `stderr.TAIL_BYTES`.
            stopped: whether Relay ended the turn (a kill request, or a limit): its failure is then no agent's error.
        """
        self.stderr = stderr
        self._read_to_end()
        self.transcript.close()
        verdict = self.judge(exit_code)
        if verdict.success:
            verdict = self._broken_rule() or verdict
        error = self.last_error
        if not verdict.success and not stopped:
            verdict = self._explained(verdict)
        elif stopped:
            error = error or failure_cause(stderr, certain=True)
            if error and not self.transcript.has_error:
                self.transcript.add_error(error)
        self.transcript.add_usage(self.usage)
        return Verdict(verdict.success, verdict.reason, verdict.message, error)

    def _broken_rule(self) -> Verdict | None:
        """Return the failure of a turn that its agent reports as a success but that breaks a rule; else None."""
        if not self.asked_model:
            message = f"{self.program} ended without having asked a model: nothing was done"
        elif self._may_write and (failed := self.failed_edit):
            message = f"every edit that {self.program} tried has failed; the last: {failed}"
        elif self.must_speak and self.summary is None:
            after = ", after it was refused a permission" if self.refused else ""
            message = f"{self.program} ended without a message of its model{after}"
        else:
            return None
        return Verdict.failed(Reason.AGENT_ERROR, plain_text(message))

    def _explained(self, verdict: Verdict) -> Verdict:
        """Add an error entry to the conversation if it has none, and the cause from standard error to the message."""
        message = verdict.message or f"{self.program} failed"
        if not self.transcript.has_error:
            if self.last_error is None and (cause := failure_cause(self.stderr)) and cause not in message:
                message = plain_text(f"{message.rstrip('. ')}: {cause}") or message
            self.transcript.add_error(message)
        return Verdict.failed(verdict.reason or Reason.AGENT_ERROR, message)

    def _read_to_end(self) -> None:
        """Read the rest of the output once no more bytes follow."""
        for line in self._lines.finish():
            self._take_line(line)

    @property
    @abstractmethod
    def summary(self) -> str | None:
        """The agent's last message: at most 4 KiB of UTF-8; None if there was none."""

    @abstractmethod
    def _take_line(self, line: Line) -> None:
        """Understand one line of output."""

    @abstractmethod
    def judge(self, exit_code: int | None) -> Verdict:
        """Judge the turn by its output and its exit code (None: not known)."""


def may_write(request: TurnRequest) -> bool:
    """Return whether the turn's permission mode allows the agent to edit files."""
    return request.permission_mode in (None, AUTO)
