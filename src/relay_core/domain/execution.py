"""The state machine of an ExecutionProcess: one table of legal transitions and one named constructor for each.

No code sets a status directly: the store takes a `Transition` and writes it with one UPDATE that expects the source
status and, of a running execution, the owner's fence. docs/state-machine.md draws the same edges; a test compares them.
"""

from dataclasses import dataclass

from relay_core.domain.vocabulary import FINAL, Reason, Status

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
"""All legal changes (from, to). An adoption is none: the execution stays `RUNNING` and its fence grows."""


class IllegalTransition(ValueError):  # noqa: N818 - a programming error, named for what it says
    """Code of Relay built a transition that the table does not have: a bug."""


@dataclass(frozen=True)
class Transition:
    """One legal change of an execution's status, with the fields that the change fills.

    Raises:
        IllegalTransition: the table has no such edge, or the fields do not belong to it.
    """

    source: Status
    target: Status
    reason: Reason | None = None
    exit_code: int | None = None
    error_reason: str | None = None
    """One sentence for people about the reason, with the program's own message where it has one."""

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
    """A worker took the queued execution."""
    return Transition(Status.QUEUED, Status.RUNNING)


def refused(reason: Reason, message: str) -> Transition:
    """A queued execution fails without a start: its workspace is gone, or something that it needs is missing."""
    return Transition(Status.QUEUED, Status.FAILED, reason, None, message)


def cancelled(message: str) -> Transition:
    """A kill was requested while the execution was queued."""
    return Transition(Status.QUEUED, Status.KILLED, Reason.USER, None, message)


def completed(exit_code: int | None = 0) -> Transition:
    """The execution did its work."""
    return Transition(Status.RUNNING, Status.COMPLETED, None, exit_code)


def failed(reason: Reason, message: str, exit_code: int | None = None) -> Transition:
    """The execution ended by itself or at a limit, without doing its work."""
    return Transition(Status.RUNNING, Status.FAILED, reason, exit_code, message)


def killed(message: str, exit_code: int | None = None) -> Transition:
    """A kill was requested, and every process of the execution is gone."""
    return Transition(Status.RUNNING, Status.KILLED, Reason.USER, exit_code, message)


def heeding_kill(end: Transition) -> Transition:
    """The end of an execution whose kill was requested before ``end`` was written: killed, with ``end`` in the text."""
    if end.target is Status.KILLED:
        return end
    before = "it had completed by then" if end.target is Status.COMPLETED else f"by then: {end.error_reason}"
    return killed(f"killed on request ({before})", end.exit_code)
