"""The base class of the readers of all agents, with the rules that apply to every turn, whatever the agent reports.

A turn is `completed` only if the agent sent a request to a model, if not all of its edits failed, and if it wrote a
message. The cause of a failed turn is in the verdict and in an entry of the conversation; if the agent's output names
no cause, the reader searches the agent's standard error for one.
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
"""Type of one parsed line of output: a text, or a JSON object."""
Line_co = TypeVar("Line_co", covariant=True)


class LineSplitter(Protocol[Line_co]):
    """Splits a stream of bytes into lines and parses each of them, in bounded memory."""

    def feed(self, data: bytes) -> Iterator[Line_co]:
        """Take the next bytes of the stream and yield the lines that end within them."""
        ...

    def finish(self) -> Iterator[Line_co]:
        """Yield the last line of the stream if no line end follows it."""
        ...


class AgentReader(ABC, Generic[Line]):
    """Reads an agent's output line by line. A subclass handles each line (`_take_line`) and judges the turn (`judge`).

    Args:
        lines: splits the output into lines.
        may_write: whether the turn's permission mode allows edits; if not, failed edits do not make the turn fail.
    """

    program: ClassVar[str]
    """Name of the agent in messages for people."""
    must_speak: ClassVar[bool] = True
    """Whether a turn fails if the agent wrote no message."""

    def __init__(self, lines: LineSplitter[Line], *, may_write: bool = True) -> None:
        self._lines = lines
        self._may_write = may_write
        self.transcript = Transcript()
        self.refused = False
        """Whether the agent requested a permission and was refused."""
        self.stderr = b""
        """The last bytes of the agent's standard error; set by `verdict`."""
        self.agent_session_id: str | None = None
        self.agent_message_id: str | None = None
        self.usage: Mapping[str, float] = {}

    @property
    def asked_model(self) -> bool:
        """Whether the agent sent a request to a model; True if the agent's output does not show it."""
        return True

    @property
    def last_error(self) -> str | None:
        """The last error that the agent reported and did not recover from."""
        return None

    @property
    def failed_edit(self) -> str | None:
        """Why the last edit failed, if every edit of the turn failed; otherwise None."""
        return self.transcript.failed_edit

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of standard output."""
        for line in self._lines.feed(data):
            self._take_line(line)

    def entries(self) -> Sequence[Entry]:
        """Return the entries that are new or changed since the last call."""
        return self.transcript.take_changes()

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Return the verdict on the turn; to be called once, after the last byte was fed.

        Args:
            exit_code: exit code of the plan's script; None if it is not known.
            stderr: the last bytes of standard error, at most `stderr.TAIL_BYTES`.
            stopped: whether Relay stopped the turn (a kill request, or a limit). The failure itself is then not
                recorded as an error of the agent.
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
        """Return the failure of a turn that breaks a rule although its agent reports a success; otherwise None."""
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
        """Return the verdict of a failed turn with a reason and a message.

        If the conversation contains no error yet, the cause found in standard error is appended to the message, and the
        message is added to the conversation as an error.
        """
        message = verdict.message or f"{self.program} failed"
        if not self.transcript.has_error:
            if self.last_error is None and (cause := failure_cause(self.stderr)) and cause not in message:
                message = plain_text(f"{message.rstrip('. ')}: {cause}") or message
            self.transcript.add_error(message)
        return Verdict.failed(verdict.reason or Reason.AGENT_ERROR, message)

    def _read_to_end(self) -> None:
        """Handle the unfinished last line; called after the last byte was fed."""
        for line in self._lines.finish():
            self._take_line(line)

    @property
    @abstractmethod
    def summary(self) -> str | None:
        """The agent's last message: at most 4 KiB of UTF-8; None if there was none."""

    @abstractmethod
    def _take_line(self, line: Line) -> None:
        """Handle one line of output: update the conversation and the properties."""

    @abstractmethod
    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict by the turn's output and its exit code; None means that the exit code is not known."""


def may_write(request: TurnRequest) -> bool:
    """Return whether the turn's permission mode allows the agent to edit files."""
    return request.permission_mode in (None, AUTO)
