"""Ends processes in a container by looks at its process table: decides what to order; kill.sh carries it out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from relay_workers.containers.port import EngineUnavailable

SETTLE_SECONDS = 1.0
"""For a supervisor to write its record once its step is gone."""
FORCE_SECONDS = 5.0
"""For KILL to be obeyed; longer, and the container has to be restarted."""
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 0.25
_MOST_STOPS = 50
_MOST_KILLS = 3


class ProcessCounts(NamedTuple):
    """What one look at the process table found, before its signals had any effect."""

    processes: int
    """Those to be ended."""
    moving: int
    """Those of them not yet stopped."""
    spared: int
    """Supervisors and copiers left alone for now."""


class KillStage(Enum):
    """How far a kill has come."""

    ASK = auto()
    GRACE = auto()
    STOP = auto()
    """Stop what moves until nothing does: a fork bomb outgrows its killer, but what is stopped cannot fork."""
    KILL = auto()
    SETTLE = auto()
    """Only supervisors and copiers are left: they leave by themselves once the log is written."""
    STOP_ALL = auto()
    """Whatever is spared has had its time: what is left holds the log, or feigns to be a copier."""
    KILL_ALL = auto()
    DONE = auto()


class KillOrder(NamedTuple):
    """A line for kill.sh."""

    signal: str
    spare: bool

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
    """A kill at one moment."""

    stage: KillStage
    looks: int
    """Taken in this stage."""
    seconds: float
    """Since the first TERM, or since force began."""


def next_stage(now: KillProgress, look: ProcessCounts, grace_seconds: float) -> KillStage:
    """The stage after ``look`` was taken."""
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
    """What is left, and how often was looked."""

    remaining: int
    looks: int


def end_processes(ask: Callable[[str], str], grace_seconds: float, first: KillStage = KillStage.ASK) -> KillOutcome:
    """Give orders until a look finds nothing, or the time for it is over.

    Args:
        ask: gives kill.sh a line and answers its line.
        grace_seconds: between TERM and force.
        first: `KillStage.STOP` ends at once what need not be asked.

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
    """The numbers of an answer of kill.sh.

    Raises:
        EngineUnavailable: it is no such answer: the container's shell is not what it was.
    """
    try:
        processes, moving, spared = (int(word) for word in line.split())
    except ValueError as error:
        raise EngineUnavailable(f"the killer in the container answered {line[:80]!r}", retryable=False) from error
    return ProcessCounts(processes, moving, spared)
