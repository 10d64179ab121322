"""The next act for a running process: a pure decision, made of one look at it."""

from dataclasses import dataclass
from enum import Enum, auto

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason

LONGEST_WAIT_SECONDS = 30.0
"""Longest time between two looks, for clocks that send no event."""


class Act(Enum):
    """The next act."""

    WAIT = auto()
    """Look again after `Decision.wait_seconds`, or at the next event."""
    DRAIN = auto()
    """The process has ended by itself: read its log to the end."""
    STOP = auto()
    """End the process, for `Decision.reason`."""
    LEAVE = auto()
    """Another worker owns the execution, or this worker shuts down: touch nothing."""


TAIL_QUIET_SECONDS = 0.5
"""Seconds for which a silent background process may hold the log of a step that has exited."""


@dataclass(frozen=True)
class Look:
    """One look at a running process."""

    ended: bool
    """Its exit is recorded."""
    gone: bool
    """Its supervisor is dead, and with it the copiers of its log, which is complete."""
    seconds_ended: float
    """Since its exit was recorded; 0 before."""
    kill_asked: bool
    lost: bool
    """Another worker owns the execution, or this worker shuts down."""
    capture_stopped: Reason | None
    """Why its log cannot be stored any further."""
    capped: Reason | None
    """A cap that another thread watches, and that was exceeded."""
    seconds_running: float
    seconds_silent: float
    """Since its last output, or its start."""


@dataclass(frozen=True)
class Decision:
    """The next act, with its reason or its time."""

    act: Act
    reason: Reason | None = None
    wait_seconds: float = 0.0


def decide(look: Look, limits: Limits, *, has_deadline: bool, tail_seconds: float) -> Decision:
    """The next act. A kill goes before caps, and an end that has happened goes before caps that a clock watches.

    A kill also ends background processes that hold the log of a step that has exited.

    Args:
        look: the present look.
        limits: the caps.
        has_deadline: False for a dev server, which may run and be silent for any time.
        tail_seconds: for which a background process may hold the log after the exit.
    """
    if look.lost:
        return Decision(Act.LEAVE)
    if look.kill_asked:
        return Decision(Act.STOP, Reason.USER)
    if look.capture_stopped is not None:
        return Decision(Act.STOP, look.capture_stopped)
    if look.ended or look.gone:
        return _drain(look, tail_seconds)
    if look.capped is not None:
        return Decision(Act.STOP, look.capped)
    return _by_clock(look, limits) if has_deadline else Decision(Act.WAIT, wait_seconds=LONGEST_WAIT_SECONDS)


def _drain(look: Look, tail_seconds: float) -> Decision:
    """After the exit: wait until the background processes that hold the log are silent, at most ``tail_seconds``."""
    quiet = min(look.seconds_silent, look.seconds_ended)
    left = 0.0 if look.gone else min(tail_seconds - look.seconds_ended, TAIL_QUIET_SECONDS - quiet)
    return Decision(Act.WAIT, wait_seconds=left) if left > 0 else Decision(Act.DRAIN)


def _by_clock(look: Look, limits: Limits) -> Decision:
    clocks = [(limits.timeout_seconds - look.seconds_running, Reason.TIMEOUT)]
    if limits.no_output_seconds:
        clocks.append((limits.no_output_seconds - look.seconds_silent, Reason.NO_OUTPUT))
    left, reason = min(clocks)
    if left <= 0:
        return Decision(Act.STOP, reason)
    return Decision(Act.WAIT, wait_seconds=min(left, LONGEST_WAIT_SECONDS))
