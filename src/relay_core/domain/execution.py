"""The state machine of an ExecutionProcess: one table of legal transitions and one named constructor for each.

Nobody sets a status by hand: a store takes a `Transition` and writes it with one UPDATE guarded by the status it
expects (and, for a running one, by the fence). docs/state-machine.md draws the same edges; a test compares them.
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
"""Every (from, to) that may happen; adoption keeps `RUNNING` and only raises the fence."""


class IllegalTransition(ValueError):  # noqa: N818 - a programming error, named for what it says
    """Somebody tried to build a transition that the table does not have."""


@dataclass(frozen=True)
class Transition:
    """One legal step of an execution, with exactly the fields that it fills.

    Raises:
        IllegalTransition: the table has no such edge, or the fields do not belong to it.
    """

    source: Status
    target: Status
    reason: Reason | None = None
    exit_code: int | None = None
    error_reason: str | None = None
    """A sentence for people; the program's own words where there are some."""

    def __post_init__(self) -> None:
        if (self.source, self.target) not in TRANSITIONS:
            raise IllegalTransition(f"an execution cannot go from {self.source} to {self.target}")
        if self.target in {Status.FAILED, Status.KILLED} and self.reason is None:
            raise IllegalTransition(f"{self.target} needs a reason")
        if self.target in {Status.RUNNING, Status.COMPLETED} and (self.reason or self.error_reason):
            raise IllegalTransition(f"{self.target} has no reason")

    @property
    def final(self) -> bool:
        """Whether it ends the execution."""
        return self.target in FINAL


def claimed() -> Transition:
    """A worker took it."""
    return Transition(Status.QUEUED, Status.RUNNING)


def refused(reason: Reason, message: str) -> Transition:
    """It will never start: its workspace is gone, or what it needs is not there."""
    return Transition(Status.QUEUED, Status.FAILED, reason, None, message)


def cancelled(message: str) -> Transition:
    """Somebody stopped it before it started."""
    return Transition(Status.QUEUED, Status.KILLED, Reason.USER, None, message)


def completed(exit_code: int | None = 0) -> Transition:
    """It did what it was asked for."""
    return Transition(Status.RUNNING, Status.COMPLETED, None, exit_code)


def failed(reason: Reason, message: str, exit_code: int | None = None) -> Transition:
    """It ended by itself or by a cap, without doing what it was asked for."""
    return Transition(Status.RUNNING, Status.FAILED, reason, exit_code, message)


def killed(message: str, exit_code: int | None = None) -> Transition:
    """Its end was asked for, and every process of it is gone."""
    return Transition(Status.RUNNING, Status.KILLED, Reason.USER, exit_code, message)


def heeding_kill(end: Transition) -> Transition:
    """The end of a run whose kill was asked for before its end was written: killed, with what had happened by then."""
    if end.target is Status.KILLED:
        return end
    before = "it had completed by then" if end.target is Status.COMPLETED else f"by then: {end.error_reason}"
    return killed(f"killed on request ({before})", end.exit_code)
