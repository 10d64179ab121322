"""The order of a kill: after each look at the process table it is decided what kill.sh does next."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from relay_workers.containers.port import EngineUnavailable

SETTLE_SECONDS = 1.0
"""Seconds for a supervisor to write its record once its step is gone."""
FORCE_SECONDS = 5.0
"""Seconds for KILL to take effect; after that the container has to be restarted."""
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 0.25
_MOST_STOPS = 50
_MOST_KILLS = 3


class ProcessCounts(NamedTuple):
    """The processes that one look at the process table found, before the signals of that look had any effect."""

    processes: int
    """The number of processes to be ended."""
    moving: int
    """The number of those that are not stopped."""
    spared: int
    """The number of supervisors and copiers that are left alone for now."""


class KillStage(Enum):
    """The stages of a kill, in their usual order."""

    ASK = auto()
    """Send TERM to the processes."""
    GRACE = auto()
    """Wait for the processes to end by themselves."""
    STOP = auto()
    """Send STOP until no process moves: a fork bomb outgrows its killer, but a stopped process cannot fork."""
    KILL = auto()
    """Send KILL to all that was stopped."""
    SETTLE = auto()
    """Wait for supervisors and copiers, which leave by themselves once the log is written."""
    STOP_ALL = auto()
    """Send STOP to supervisors and copiers, too: a process that is left holds the log, or passes for a copier."""
    KILL_ALL = auto()
    """Send KILL to all of them."""
    DONE = auto()


class KillOrder(NamedTuple):
    """An order for one look of kill.sh: a line of its input."""

    signal: str
    """A name, or 0 for none."""
    spare: bool
    """Whether supervisors and copiers are left alone."""

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
    """The state of a kill between two looks."""

    stage: KillStage
    looks: int
    """The number of looks in this stage."""
    seconds: float
    """Seconds since the first TERM, or since force began."""


def next_stage(now: KillProgress, look: ProcessCounts, grace_seconds: float) -> KillStage:
    """The stage that follows a look.

    Args:
        now: the state, the look included.
        look: its counts.
        grace_seconds: between TERM and force.
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
    """The number of processes that are left, and of looks."""

    remaining: int
    looks: int


def end_processes(ask: Callable[[str], str], grace_seconds: float, first: KillStage = KillStage.ASK) -> KillOutcome:
    """Give orders until a look finds no process, or `SETTLE_SECONDS` and `FORCE_SECONDS` have passed after the grace.

    Args:
        ask: sends kill.sh a line and returns the line of its answer.
        grace_seconds: between TERM and force.
        first: the first stage; `KillStage.STOP` sends no TERM.

    Raises:
        EngineUnavailable: the killer itself was lost.
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
            time.sleep(wait)  # a process table offers no event
            wait = min(wait * 1.5, _LONGEST_WAIT_SECONDS)


def parse_counts(line: str) -> ProcessCounts:
    """The numbers in a line of kill.sh.

    Raises:
        EngineUnavailable: the line has not three numbers, as the container's shell was replaced.
    """
    try:
        processes, moving, spared = (int(word) for word in line.split())
    except ValueError as error:
        raise EngineUnavailable(f"the killer in the container answered {line[:80]!r}", retryable=False) from error
    return ProcessCounts(processes, moving, spared)
