"""Decides what to do next about a running process: a pure function of one snapshot of the process."""

from dataclasses import dataclass
from enum import Enum, auto

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason

LONGEST_WAIT_SECONDS = 30.0
"""Longest time between two checks of a running process, since passing a time limit causes no event."""


class Act(Enum):
    """The next act on a running process."""

    WAIT = auto()
    """Check again after `Decision.wait_seconds`, or at the next event."""
    DRAIN = auto()
    """The process has ended by itself: read its log to the end."""
    STOP = auto()
    """Stop the process, because of `Decision.reason`."""
    LEAVE = auto()
    """Another worker owns the execution, or this worker shuts down: touch nothing."""


TAIL_QUIET_SECONDS = 0.5
"""After a step has exited, a background process that writes nothing may hold its log open for this many seconds."""

FIRST_ASK_SECONDS = 0.02
"""Time after the exit of a step at which relay-pid1 is asked whether the log has ended, if some process is left.

It is asked again each time that this time has doubled."""


@dataclass(frozen=True)
class Look:
    """A snapshot of a running process."""

    ended: bool
    """Whether its exit is recorded."""
    gone: bool
    """Whether no process of it is left, so that the log is complete."""
    log_ended: bool
    """Whether relay-pid1 has copied the log to its end; processes of the step without the log may be left."""
    seconds_ended: float
    """Seconds since its exit was recorded; 0 before."""
    kill_asked: bool
    lost: bool
    """Whether another worker owns the execution, or this worker shuts down."""
    capture_stopped: Reason | None
    """Why no more of its log can be stored; None if it can."""
    capped: Reason | None
    """A limit that another thread checks and that was exceeded; None if none was."""
    seconds_running: float
    seconds_silent: float
    """Seconds since its last output, or since its start."""


@dataclass(frozen=True)
class Decision:
    """The next act on a running process, with the reason to stop it or the time to wait."""

    act: Act
    reason: Reason | None = None
    wait_seconds: float = 0.0


def decide(look: Look, limits: Limits, *, has_deadline: bool, tail_seconds: float) -> Decision:
    """Decide what to do next about a running process.

    A kill takes precedence over limits; it also applies after the exit, while background processes hold the log. An
    exit that has happened takes precedence over time limits and over `Look.capped`.

    Args:
        look: the snapshot of the process.
        limits: the limits on time and silence.
        has_deadline: whether the time limits apply; False for a dev server, which may run and be silent for any time.
        tail_seconds: how long a background process may hold the log open after the exit.
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
    """After the exit, wait until the background processes that hold the log are silent, at most ``tail_seconds``."""
    quiet = min(look.seconds_silent, look.seconds_ended)
    left = min(tail_seconds - look.seconds_ended, TAIL_QUIET_SECONDS - quiet)
    if look.gone or look.log_ended or left <= 0:
        return Decision(Act.DRAIN)
    return Decision(Act.WAIT, wait_seconds=min(left, max(FIRST_ASK_SECONDS, look.seconds_ended)))


def _by_clock(look: Look, limits: Limits) -> Decision:
    clocks = [(limits.timeout_seconds - look.seconds_running, Reason.TIMEOUT)]
    if limits.no_output_seconds:
        clocks.append((limits.no_output_seconds - look.seconds_silent, Reason.NO_OUTPUT))
    left, reason = min(clocks)
    if left <= 0:
        return Decision(Act.STOP, reason)
    return Decision(Act.WAIT, wait_seconds=min(left, LONGEST_WAIT_SECONDS))
