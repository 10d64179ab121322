"""A clock whose time passes only when a test, or a wait on it, says so."""

import threading


class FakeClock:
    """Seconds that begin at 1000; usable from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1000.0

    def monotonic(self) -> float:
        """The present second, as `time.monotonic` gives it."""
        with self._lock:
            return self._now

    def pass_by(self, seconds: float) -> None:
        """Let time pass; returns at once, so it also takes the place of `time.sleep`."""
        with self._lock:
            self._now += seconds
