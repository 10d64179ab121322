"""A clock for tests whose time passes only when the test calls `FakeClock.pass_by`."""

import threading


class FakeClock:
    """A monotonic clock that starts at 1000 seconds; usable from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1000.0

    def monotonic(self) -> float:
        """Return the current time in seconds, in place of `time.monotonic`."""
        with self._lock:
            return self._now

    def pass_by(self, seconds: float) -> None:
        """Advance the clock and return at once. It can also replace `time.sleep`."""
        with self._lock:
            self._now += seconds
