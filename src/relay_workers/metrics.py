"""The metrics of one worker for Prometheus. No label contains an id, so the number of time series is bounded."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import RunReason

LONG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 4 * 3600)
"""Histogram buckets in seconds; an execution may wait for hours."""


class Metrics:
    """The metrics of one worker, in their own registry, so that two workers in one process do not collide."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        reason = ["run_reason"]
        self.queue_wait = Histogram(
            "relay_queue_wait_seconds",
            "Seconds from the time at which an execution was queued to its claim.",
            reason,
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self.start = Histogram(
            "relay_start_seconds",
            "Seconds from the claim to a running process.",
            reason,
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self._ended = Counter(
            "relay_runs_ended", "Ends written by this worker.", ["run_reason", "status", "reason"], registry=registry
        )
        self._adopted = Counter("relay_adoptions", "Executions taken over from other workers.", registry=registry)
        self._swept = Counter("relay_sweep_actions", "Acts of sweeps.", ["kind"], registry=registry)
        self._clocks = Gauge(
            "relay_clock_age_seconds",
            "Seconds since a clock of this worker last ended without an error.",
            ["clock"],
            registry=registry,
        )
        self._registry_gauges = {
            name: Gauge(f"relay_{name}", text, registry=registry)
            for name, text in (
                ("slots_total", "Tasks that this worker can carry out at once."),
                ("slots_used", "Slots that are taken; a dev server that answers holds none."),
                ("runs_live", "Executions that this worker owns."),
                ("lease_age_seconds", "Seconds since this worker's lease was last renewed."),
                ("log_unstored_bytes", "Bytes of raw log files that are not stored yet."),
                (
                    "log_store_wait_seconds",
                    "Seconds since the writer began to store its present batch of log bytes; 0 where it has none.",
                ),
            )
        }

    def claimed(self, run_reason: RunReason, waited_seconds: float) -> None:
        """Record that an execution was claimed ``waited_seconds`` after it was queued."""
        self.queue_wait.labels(run_reason).observe(max(0.0, waited_seconds))

    def started(self, run_reason: RunReason, claimed_at: float) -> None:
        """Count a process that has started.

        Args:
            run_reason: the kind of its execution.
            claimed_at: time at which the execution was claimed, on the monotonic clock.
        """
        self.start.labels(run_reason).observe(time.monotonic() - claimed_at)

    def ended(self, run_reason: RunReason, transition: Transition) -> None:
        """Count an execution whose end this worker has written."""
        self._ended.labels(run_reason, transition.target, transition.reason or "").inc()

    def adopted(self) -> None:
        """Count an execution that was taken over from another worker."""
        self._adopted.inc()

    def swept(self, kind: str, times: int = 1) -> None:
        """Count the actions of a sweep.

        Args:
            kind: the kind of action; one of a fixed set of words.
            times: the number of actions.
        """
        self._swept.labels(kind).inc(times)

    def watch(self, gauges: dict[str, Callable[[], float]]) -> None:
        """Set, for each gauge by name, the function that reads its value when Prometheus asks for it."""
        for name, read in gauges.items():
            self._registry_gauges[name].set_function(read)

    def watch_clocks(self, ages: dict[str, Callable[[], float]]) -> None:
        """Set, for each clock by name, the function that reads the seconds since its last success."""
        for name, read in ages.items():
            self._clocks.labels(name).set_function(read)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
