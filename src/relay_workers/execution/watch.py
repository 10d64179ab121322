"""What to do with a running process: a pure decision on what is seen of it."""

from dataclasses import dataclass
from enum import Enum, auto

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason

LONGEST_WAIT_SECONDS = 30.0
"""A look at the clock at least this often, whatever the events say."""


class Act(Enum):
    """What comes next."""

    WAIT = auto()
    """Nothing has happened; look again after `Decision.wait_seconds` or at the next event."""
    DRAIN = auto()
    """The process has ended by itself: read its log to the end."""
    STOP = auto()
    """End it, for `Decision.reason`."""
    LEAVE = auto()
    """It is not ours any more: touch nothing."""


TAIL_QUIET_SECONDS = 0.5
"""So long a silent background process may hold the log of a step that has exited."""


@dataclass(frozen=True)
class Seen:
    """One look at a running process."""

    ended: bool
    """Its exit is recorded."""
    gone: bool
    """Its supervisor is dead, and with it what copies its log: that is complete."""
    seconds_ended: float
    """Since its exit was recorded."""
    kill_asked: bool
    lost: bool
    capture_stopped: Reason | None
    """Why its log cannot be stored any further."""
    capped: Reason | None
    """A cap that is watched elsewhere and was reached."""
    seconds_running: float
    seconds_silent: float


@dataclass(frozen=True)
class Decision:
    """An act, and why or how long."""

    act: Act
    reason: Reason | None = None
    wait_seconds: float = 0.0


def decide(seen: Seen, limits: Limits, *, has_deadline: bool, tail_seconds: float) -> Decision:
    """The next act; what a person asked for goes before caps, and an end that has happened goes before a cap.

    A kill also ends what a step that has exited left behind, while its log is still held open by that.

    Args:
        seen: the present look.
        limits: the caps.
        has_deadline: False for a dev server, which may run and be silent as long as it likes.
        tail_seconds: how long a background process may hold the log after the exit.
    """
    if seen.lost:
        return Decision(Act.LEAVE)
    if seen.kill_asked:
        return Decision(Act.STOP, Reason.USER)
    if seen.capture_stopped is not None:
        return Decision(Act.STOP, seen.capture_stopped)
    if seen.ended or seen.gone:
        return _drain(seen, tail_seconds)
    if seen.capped is not None:
        return Decision(Act.STOP, seen.capped)
    return _by_clock(seen, limits) if has_deadline else Decision(Act.WAIT, wait_seconds=LONGEST_WAIT_SECONDS)


def _drain(seen: Seen, tail_seconds: float) -> Decision:
    """What holds the log of a step that has exited is ended once it is silent; it will be in any case."""
    quiet = min(seen.seconds_silent, seen.seconds_ended)
    left = 0.0 if seen.gone else min(tail_seconds - seen.seconds_ended, TAIL_QUIET_SECONDS - quiet)
    return Decision(Act.WAIT, wait_seconds=left) if left > 0 else Decision(Act.DRAIN)


def _by_clock(seen: Seen, limits: Limits) -> Decision:
    clocks = [(limits.timeout_seconds - seen.seconds_running, Reason.TIMEOUT)]
    if limits.no_output_seconds:
        clocks.append((limits.no_output_seconds - seen.seconds_silent, Reason.NO_OUTPUT))
    left, reason = min(clocks)
    if left <= 0:
        return Decision(Act.STOP, reason)
    return Decision(Act.WAIT, wait_seconds=min(left, LONGEST_WAIT_SECONDS))
