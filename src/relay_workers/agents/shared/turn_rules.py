"""What the readers of all coding agents have in common: the rules that a turn has to keep, whatever its agent says.

A turn is `completed` only if its model was asked, if not every edit that it tried failed, and if the agent has said
something. A turn that failed says why, in its verdict and as an entry: where the agent's protocol is silent, its
standard error is asked.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.agents.executors import AUTO
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest, Verdict
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.stderr import failure_cause
from relay_workers.agents.shared.transcript import Transcript


class AgentTurn(ABC):
    """A subclass understands the output (`feed`, `_read_to_end`) and judges what it understood (`judge`).

    Args:
        may_write: the turn's permission mode lets it edit; where it does not, edits are expected to fail.
    """

    program: ClassVar[str]
    must_speak: ClassVar[bool] = True
    """Whether a turn without a word of the agent is a failure."""

    def __init__(self, *, may_write: bool = True) -> None:
        self._may_write = may_write
        self.transcript = Transcript()
        self.refused = False
        """Whether it asked for a permission and got none."""
        self.stderr = b""
        """The end of its standard error; known once the turn has ended."""
        self.agent_session_id: str | None = None
        self.agent_message_id: str | None = None
        self.usage: Mapping[str, float] = {}

    @property
    def asked_model(self) -> bool:
        """Whether a request reached a model, as far as the agent tells."""
        return True

    @property
    def last_error(self) -> str | None:
        """What went wrong last and was not overcome: the cause of a turn that is ended by a cap."""
        return None

    @property
    def failed_edit(self) -> str | None:
        """Why the last edit failed, where every one did."""
        return self.transcript.failed_edit

    def entries(self) -> Sequence[Entry]:
        """What is new or changed in the conversation."""
        return self.transcript.take_changes()

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:
        """Judge the ended turn.

        Args:
            exit_code: None: nobody knows it.
            stderr: the end of its standard error (`stderr.TAIL_BYTES`).
            stopped: Relay has ended it (a kill, a cap): that it failed is not its own doing.
        """
        self.stderr = stderr
        self._read_to_end()
        self.transcript.close()
        verdict = self.judge(exit_code)
        if verdict.success:
            verdict = self._broken_rule() or verdict
        told = self.last_error
        if not verdict.success and not stopped:
            verdict = self._explained(verdict)
        elif stopped:
            told = told or failure_cause(stderr, certain=True)
            if told and not self.transcript.has_error:
                self.transcript.add_error(told)
        self.transcript.add_usage(self.usage)
        return Verdict(verdict.success, verdict.reason, verdict.message, told)

    def _broken_rule(self) -> Verdict | None:
        """The verdict on a turn that its agent calls a success and that is none."""
        if not self.asked_model:
            message = f"{self.program} ended without having asked a model: nothing was done"
        elif self._may_write and (failed := self.failed_edit):
            message = f"every edit that {self.program} tried has failed; the last: {failed}"
        elif self.must_speak and self.summary is None:
            after = ", after it was refused a permission" if self.refused else ""
            message = f"{self.program} ended without a word of its model{after}"
        else:
            return None
        return Verdict.failed(Reason.AGENT_ERROR, plain_text(message))

    def _explained(self, verdict: Verdict) -> Verdict:
        """With the cause that standard error tells where nothing else did, and an entry that says so."""
        message = verdict.message or f"{self.program} failed"
        if not self.transcript.has_error:
            if self.last_error is None and (found := failure_cause(self.stderr)) and found not in message:
                message = plain_text(f"{message.rstrip('. ')}: {found}") or message
            self.transcript.add_error(message)
        return Verdict.failed(verdict.reason or Reason.AGENT_ERROR, message)

    @property
    @abstractmethod
    def summary(self) -> str | None:
        """Its last words."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    @abstractmethod
    def _read_to_end(self) -> None:
        """Understand what is held of a line that has no end."""

    @abstractmethod
    def judge(self, exit_code: int | None) -> Verdict:
        """What the output and the exit code say together."""


def may_write(request: TurnRequest) -> bool:
    """Whether the turn's permission mode lets it edit."""
    return request.permission_mode in (None, AUTO)
