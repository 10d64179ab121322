"""The progress of a fetch, read from the lines that git overwrites on its standard error."""

import re
from dataclasses import dataclass
from enum import StrEnum

_STATE = re.compile(
    rb"(?P<label>Receiving objects|Unpacking objects|Resolving deltas): +\d{1,3}% "
    rb"\((?P<done>\d{1,12})/(?P<total>\d{1,12})\)(?:, (?P<amount>\d{1,9}(?:\.\d{1,3})?) (?P<unit>bytes|[KMGT]iB))?"
)
_UNITS = {b"bytes": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30, b"TiB": 1 << 40}


class FetchPhase(StrEnum):
    """The parts of a fetch that have a progress."""

    RECEIVING = "receiving"
    """Objects arrive from the remote."""
    RESOLVING = "resolving"
    """Objects that arrived as differences are completed; nothing arrives any more."""


_PHASES = {
    b"Receiving objects": FetchPhase.RECEIVING,
    b"Unpacking objects": FetchPhase.RECEIVING,
    b"Resolving deltas": FetchPhase.RESOLVING,
}


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far one part of a fetch has come: `objects` of `total`."""

    phase: FetchPhase
    objects: int
    total: int
    bytes: int | None = None
    """Bytes that have arrived, as exactly as git tells them; None while git does not."""

    @property
    def percent(self) -> int:
        """The part that is done, rounded down."""
        return 100 * self.objects // self.total if self.total else 100


def read_progress(line: bytes) -> FetchProgress | None:
    """Return the progress that a line of git's tells; None for any other line, also for one that the remote sent."""
    found = _STATE.match(line)
    if found is None:
        return None
    amount = None if found["amount"] is None else int(float(found["amount"]) * _UNITS[found["unit"]])
    return FetchProgress(_PHASES[found["label"]], int(found["done"]), int(found["total"]), amount)


def clause(state: FetchProgress) -> str:
    """Return a state for people: `receiving 45% of 5,000 objects, 1.5 MiB`."""
    size = "" if state.bytes is None else f", {state.bytes / (1 << 20):,.1f} MiB"
    return f"{state.phase} {state.percent}% of {state.total:,} objects{size}"
