"""Repairs the differences between this node and Postgres once each has lasted for its grace period."""

import time
from collections.abc import Callable

import structlog

from relay_workers.maintenance.divergence import Divergence, DivergenceFinder
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)


class DivergenceSweep:
    """Repairs every difference that the finder reports. If one cannot be repaired, the others still are."""

    def __init__(self, finder: DivergenceFinder, metrics: Metrics) -> None:
        self._finder = finder
        self._metrics = metrics
        self._found_at: dict[tuple[str, str], float] = {}
        self._on_gone: dict[tuple[str, str], Callable[[], None]] = {}

    def sweep(self) -> None:
        """Find the differences once, and repair those whose grace period is over."""
        now = time.monotonic()
        divergences = self._finder.find_all()
        before, self._found_at = self._found_at, {}
        for divergence in divergences:
            key = (divergence.kind, divergence.subject)
            self._found_at[key] = before.get(key, now)
            if key not in before and divergence.grace_seconds:
                log.warning(
                    "found a divergence",
                    kind=divergence.kind,
                    subject=divergence.subject,
                    message=divergence.message,
                )
            if key not in before and divergence.on_found is not None:
                divergence.on_found()
            if divergence.on_gone is not None:
                self._on_gone[key] = divergence.on_gone
            if now - self._found_at[key] >= divergence.grace_seconds and repair(divergence):
                self._metrics.swept(divergence.kind)
        for key in self._on_gone.keys() - self._found_at.keys():
            self._on_gone[key]()
            del self._on_gone[key]


def repair(divergence: Divergence) -> bool:
    """Repair a difference. An error is logged, and the next sweep finds the difference again.

    Returns:
        True if the repair raised no error.
    """
    try:
        divergence.repair()
    except Exception:  # the top of a sweep: the next difference must still be repaired
        log.exception("cannot repair a divergence", kind=divergence.kind, subject=divergence.subject)
        return False
    log.info("repaired a divergence", kind=divergence.kind, subject=divergence.subject, message=divergence.message)
    return True
