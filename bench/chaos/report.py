"""The result of a chaos run; the results of several stacks add up."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """Counts of one or several stacks. Everything from `bytes_lost` to `problems` should be 0 or empty."""

    jobs: Counter[str] = field(default_factory=Counter)
    """Runs by kind of load."""
    faults: Counter[str] = field(default_factory=Counter)
    quiet: int = 0
    """Faults after which nothing was restarted for a while."""
    executions: int = 0
    """Executions that were looked at."""
    log_bytes: int = 0
    """Bytes of stdout that were compared."""
    bytes_lost: int = 0
    bytes_doubled: int = 0
    double_runs: int = 0
    stuck: int = 0
    """Executions that never ended, and runs that made no progress in a quiet phase."""
    problems: list[str] = field(default_factory=list)
    """Everything else that is wrong: unexpected ends, gaps in events, wrong sums, processes left running."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a worker's death to the adoption of each execution it had."""

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.bytes_lost or self.bytes_doubled or self.double_runs or self.stuck or self.problems)

    def add(self, other: "Report") -> None:
        """Include the counts of another stack."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_json(self) -> dict[str, Any]:
        """JSON object from which `from_json` makes an equal report."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @staticmethod
    def from_json(told: dict[str, Any]) -> "Report":
        """A report from `as_json`."""
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
