"""The report of a chaos bench; reports of several stacks can be added up."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """The results of one or several stacks. Everything from `bytes_lost` to `problems` should be 0 or empty."""

    jobs: Counter[str] = field(default_factory=Counter)
    """Number of runs by kind of load."""
    faults: Counter[str] = field(default_factory=Counter)
    quiet: int = 0
    """Number of faults after which nothing was restarted for a while."""
    executions: int = 0
    """Number of executions that were checked."""
    log_bytes: int = 0
    """Bytes of stdout that were compared."""
    bytes_lost: int = 0
    bytes_doubled: int = 0
    double_runs: int = 0
    stuck: int = 0
    """Number of executions that never ended, and of runs that did not end after a quiet phase."""
    problems: list[str] = field(default_factory=list)
    """Descriptions of everything that is wrong, such as unexpected outcomes, gaps in events, wrong checksums, or
    processes that still run."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a worker's death until another worker took over an execution, for each of its executions."""

    @property
    def clean(self) -> bool:
        """True if nothing is wrong."""
        return not (self.bytes_lost or self.bytes_doubled or self.double_runs or self.stuck or self.problems)

    def add(self, other: "Report") -> None:
        """Add the results of another stack to this report."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object from which `from_json` makes an equal report."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @staticmethod
    def from_json(told: dict[str, Any]) -> "Report":
        """Return the report that `as_json` turned into a JSON object."""
        counters = {name: Counter(told[name]) for name in ("jobs", "faults")}
        return Report(**{**told, **counters})

    def __str__(self) -> str:
        told = [
            f"faults: {self.faults.total()}, {self.quiet} of them followed by a quiet phase ({_counts(self.faults)})",
            f"runs: {self.jobs.total()} ({_counts(self.jobs)}); executions: {self.executions}",
            f"log bytes compared {self.log_bytes}, lost {self.bytes_lost}, doubled {self.bytes_doubled}",
            f"double runs {self.double_runs}; stuck {self.stuck}; other problems {len(self.problems)}",
        ]
        if len(self.recoveries) > 1:
            cuts = statistics.quantiles(self.recoveries, n=100)
            told.append(
                f"adoption after a death: p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s, of {len(self.recoveries)}"
            )
        return "\n".join(told + self.problems)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
