"""The state machine of an execution: a table of the legal status changes and one constructor for each change.

No code sets a status directly: the store takes a `Transition` and writes it with one UPDATE. That UPDATE has no effect
unless the row has the transition's source status and, for a running execution, the fence of the caller.
docs/state-machine.md draws the same changes; a test compares them.
"""

from dataclasses import dataclass

from relay_core.domain.vocabulary import FINAL, EvidenceState, Reason, Status

TRANSITIONS: frozenset[tuple[Status, Status]] = frozenset(
    {
        (Status.QUEUED, Status.RUNNING),
        (Status.QUEUED, Status.FAILED),
        (Status.QUEUED, Status.KILLED),
        (Status.RUNNING, Status.COMPLETED),
        (Status.RUNNING, Status.FAILED),
        (Status.RUNNING, Status.KILLED),
    }
)
"""All legal status changes (from, to).

A takeover by another worker is not among them: the execution stays `RUNNING`, only its owner and fence change.
"""


class IllegalTransition(ValueError):  # noqa: N818 - a programming error, named for what it says
    """A transition was built that is not in the table: a bug in Relay."""


@dataclass(frozen=True)
class Transition:
    """One legal change of an execution's status, with the values that it writes.

    Raises:
        IllegalTransition: the table has no such change, or a reason is missing or given where the target has none.
    """

    source: Status
    target: Status
    reason: Reason | None = None
    exit_code: int | None = None
    error_reason: str | None = None
    """The reason as one sentence for people, with the program's own message if it has one."""

    def __post_init__(self) -> None:
        if (self.source, self.target) not in TRANSITIONS:
            raise IllegalTransition(f"an execution cannot go from {self.source} to {self.target}")
        if self.target in {Status.FAILED, Status.KILLED} and self.reason is None:
            raise IllegalTransition(f"{self.target} needs a reason")
        if self.target in {Status.RUNNING, Status.COMPLETED} and (self.reason or self.error_reason):
            raise IllegalTransition(f"{self.target} has no reason")

    @property
    def final(self) -> bool:
        """Whether the change ends the execution."""
        return self.target in FINAL


def claimed() -> Transition:
    """Return the change queued → running: a worker has claimed the execution."""
    return Transition(Status.QUEUED, Status.RUNNING)


def refused(reason: Reason, message: str) -> Transition:
    """Return the change queued → failed: the execution cannot start.

    Its workspace is gone, or something that it needs is missing.
    """
    return Transition(Status.QUEUED, Status.FAILED, reason, None, message)


def cancelled(message: str) -> Transition:
    """Return the change queued → killed: a kill was requested before the execution started."""
    return Transition(Status.QUEUED, Status.KILLED, Reason.USER, None, message)


def completed(exit_code: int | None = 0) -> Transition:
    """Return the change running → completed: the execution did its work."""
    return Transition(Status.RUNNING, Status.COMPLETED, None, exit_code)


def failed(reason: Reason, message: str, exit_code: int | None = None) -> Transition:
    """Return the change running → failed: the execution ended without doing its work, by itself or at a limit."""
    return Transition(Status.RUNNING, Status.FAILED, reason, exit_code, message)


def killed(message: str, exit_code: int | None = None) -> Transition:
    """Return the change running → killed: a kill was requested before the execution ended.

    Every process of the execution is gone, or its node is offline.
    """
    return Transition(Status.RUNNING, Status.KILLED, Reason.USER, exit_code, message)


def heeding_kill(end: Transition) -> Transition:
    """Return the end of an execution for which a kill was requested before its end ``end`` was written.

    The result is always `killed`; its message mentions ``end``, and the exit code is kept.
    """
    if end.target is Status.KILLED:
        return end
    before = "it had completed by then" if end.target is Status.COMPLETED else f"by then: {end.error_reason}"
    return killed(f"killed on request ({before})", end.exit_code)


def evidence_state(after_head: str | None, problem: str | None) -> EvidenceState:
    """Return whether the git state of a repository was recorded, from the results of reading it at the end of a step.

    Args:
        after_head: the commit of HEAD; None if it has none yet, or could not be read.
        problem: why a part of the state could not be recorded; None if all of it was.
    """
    return EvidenceState.UNAVAILABLE if after_head is None and problem else EvidenceState.RECORDED
