"""Decides the course of a kill: after each check of the process table, what kill.sh does next.

The script kill.sh runs in the container. For each line of input it checks all processes once, sends them the ordered
signal and reports how many it found. Such a check is called a look.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from relay_workers.containers.port import EngineUnavailable

SETTLE_SECONDS = 1.0
"""Seconds that a supervisor gets to write its exit record after its step is gone."""
FORCE_SECONDS = 5.0
"""Seconds that KILL gets to take effect; after that the container has to be restarted."""
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 0.25
_MOST_STOPS = 50
_MOST_KILLS = 3


class ProcessCounts(NamedTuple):
    """The numbers of processes found in one look at the process table, before that look's signals took effect."""

    processes: int
    """The number of processes to kill, without the `spared`."""
    moving: int
    """The number of these processes that are not stopped by SIGSTOP yet."""
    spared: int
    """The number of supervisors and of their copiers (which write the log) that are left alone for now."""


class KillStage(Enum):
    """The stages of a kill, in their usual order."""

    ASK = auto()
    """Send TERM to the processes, so that they can exit cleanly."""
    GRACE = auto()
    """Wait for the processes to exit by themselves."""
    STOP = auto()
    """Send STOP until no process runs: a fork bomb forks faster than it can be killed, but cannot fork while
    stopped."""
    KILL = auto()
    """Send KILL to the processes, which are stopped by now."""
    SETTLE = auto()
    """Wait for supervisors and copiers, which exit by themselves once the log is written."""
    STOP_ALL = auto()
    """Send STOP to supervisors and copiers, too: a process that still exists holds the log open or looks like a
    copier."""
    KILL_ALL = auto()
    """Send KILL to the processes, supervisors and copiers included."""
    DONE = auto()


class KillOrder(NamedTuple):
    """An order for one look of kill.sh; as text it is one line of kill.sh's input."""

    signal: str
    """The name of the signal to send, or ``0`` for none."""
    spare: bool
    """Whether supervisors and their copiers (which write the log) are left alone."""

    def __str__(self) -> str:
        return f"{self.signal} {int(self.spare)}"


ORDERS = {
    KillStage.ASK: KillOrder("TERM", spare=True),
    KillStage.GRACE: KillOrder("0", spare=True),
    KillStage.STOP: KillOrder("STOP", spare=True),
    KillStage.KILL: KillOrder("KILL", spare=True),
    KillStage.SETTLE: KillOrder("0", spare=True),
    KillStage.STOP_ALL: KillOrder("STOP", spare=False),
    KillStage.KILL_ALL: KillOrder("KILL", spare=False),
}
_ASKING = frozenset({KillStage.ASK, KillStage.GRACE})
_LAST = frozenset({KillStage.STOP_ALL, KillStage.KILL_ALL})
_WAITING = frozenset({KillStage.GRACE, KillStage.SETTLE})


@dataclass(frozen=True)
class KillProgress:
    """The state of a kill after a look."""

    stage: KillStage
    looks: int
    """The number of looks in this stage, the last one included."""
    seconds: float
    """Seconds since the kill began; once the stages after GRACE have begun, seconds since then."""


def next_stage(now: KillProgress, look: ProcessCounts, grace_seconds: float) -> KillStage:
    """Return the stage that follows a look.

    Args:
        now: the state of the kill, with this look counted.
        look: the numbers of processes that the look found.
        grace_seconds: the time between TERM and the first STOP.
    """
    if look.processes == 0 and look.spared == 0:
        return KillStage.DONE
    if now.stage in _LAST:
        return _force(now, look, stop=KillStage.STOP_ALL, kill=KillStage.KILL_ALL)
    if now.stage not in _ASKING and now.seconds >= SETTLE_SECONDS:
        return KillStage.STOP_ALL
    if look.processes == 0:
        return KillStage.SETTLE
    if now.stage in _ASKING and now.seconds < grace_seconds:
        return KillStage.GRACE
    return _force(now, look, stop=KillStage.STOP, kill=KillStage.KILL)


def _force(now: KillProgress, look: ProcessCounts, *, stop: KillStage, kill: KillStage) -> KillStage:
    if now.stage is stop and (look.moving == 0 or now.looks >= _MOST_STOPS):
        return kill
    return kill if now.stage is kill and now.looks < _MOST_KILLS else stop


class KillOutcome(NamedTuple):
    """The result of a kill: the number of processes that are left, and the number of looks."""

    remaining: int
    looks: int


def end_processes(ask: Callable[[str], str], grace_seconds: float, first: KillStage = KillStage.ASK) -> KillOutcome:
    """Send orders to kill.sh until a look finds no process or the time is up.

    The time is up `SETTLE_SECONDS` and `FORCE_SECONDS` after the grace period.

    Args:
        ask: sends a line to kill.sh and returns its answer line.
        grace_seconds: the time between TERM and the first STOP.
        first: the first stage; `KillStage.STOP` sends no TERM.

    Raises:
        EngineUnavailable: kill.sh was lost or gave an unusable answer.
    """
    stage, since, in_stage, looks, wait = first, time.monotonic(), 0, 0, _FIRST_WAIT_SECONDS
    deadline = since + grace_seconds + SETTLE_SECONDS + FORCE_SECONDS
    while True:
        look = parse_counts(ask(str(ORDERS[stage])))
        looks, in_stage, now = looks + 1, in_stage + 1, time.monotonic()
        following = next_stage(KillProgress(stage, in_stage, now - since), look, grace_seconds)
        if following is KillStage.DONE or now > deadline:
            return KillOutcome(look.processes + look.spared, looks)
        if stage in _ASKING and following not in _ASKING:
            since = now
        if following is not stage:
            stage, in_stage, wait = following, 0, _FIRST_WAIT_SECONDS
        if stage in _WAITING or (in_stage and stage in {KillStage.KILL, KillStage.KILL_ALL}):
            time.sleep(wait)  # the kernel reports no event when the process table changes
            wait = min(wait * 1.5, _LONGEST_WAIT_SECONDS)


def parse_counts(line: str) -> ProcessCounts:
    """Parse an answer line of kill.sh.

    Raises:
        EngineUnavailable: the line does not consist of three numbers, because the container's shell was replaced.
    """
    try:
        processes, moving, spared = (int(word) for word in line.split())
    except ValueError as error:
        raise EngineUnavailable(f"the killer in the container answered {line[:80]!r}", retryable=False) from error
    return ProcessCounts(processes, moving, spared)
