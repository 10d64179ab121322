"""Retention: which partitions of logs are dropped. Logs are kept by the week in which their execution started."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class Cause(StrEnum):
    """Why a partition is dropped."""

    AGE = "age"
    SIZE = "size"


@dataclass(frozen=True)
class Partition:
    """A partition: the rows of a span of days."""

    name: str
    starts: date
    ends: date
    """The first day after the span."""
    size_bytes: int


@dataclass(frozen=True)
class Kept:
    """The first days of weeks whose logs stay, whatever their age and size."""

    needed: Collection[date] = ()
    """Weeks with a log of a pinned workspace, or an execution that is queued, runs or started in the present week."""
    recent: Collection[date] = ()
    """Weeks with the log of an execution that ended less than the days ago; they may be dropped for their size only."""


@dataclass(frozen=True)
class Limits:
    """How much is kept; None: everything."""

    days: float | None = None
    size_bytes: int | None = None


def old(partitions: Sequence[Partition], today: date, days: float) -> list[Partition]:
    """Return the partitions whose last day is at least so many days ago."""
    return [one for one in partitions if one.ends <= today - timedelta(days=days)]


def to_drop(partitions: Sequence[Partition], today: date, limits: Limits, kept: Kept) -> list[tuple[Partition, Cause]]:
    """Return the partitions to drop now, oldest first, each with the cause.

    The present week and later ones are never dropped. Of those that are left, the oldest ones are dropped until the
    rest has no more bytes than are kept.

    Args:
        partitions: those that there are.
        today: by Postgres' clock.
        limits: how much is kept.
        kept: the weeks that stay.
    """

    def has(one: Partition, weeks: Collection[date]) -> bool:
        return any(one.starts <= week < one.ends for week in weeks)

    past = sorted((one for one in partitions if one.ends <= today), key=lambda one: one.starts)
    free = [one for one in past if not has(one, kept.needed)]
    dropped: list[tuple[Partition, Cause]] = []
    if limits.days is not None:
        aged = [one for one in old(free, today, limits.days) if not has(one, kept.recent)]
        dropped += [(one, Cause.AGE) for one in aged]
    if limits.size_bytes is not None:
        gone = {one.name for one, _ in dropped}
        size = sum(one.size_bytes for one in partitions if one.name not in gone)
        for one in (one for one in free if one.name not in gone):
            if size <= limits.size_bytes:
                break
            dropped.append((one, Cause.SIZE))
            size -= one.size_bytes
    return sorted(dropped, key=lambda found: found[0].starts)
