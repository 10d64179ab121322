"""A clock of a worker: a thread that calls one function periodically."""

import random
import threading
import time
from collections.abc import Callable

import structlog

from relay_core.store.outage import is_away

log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
JITTER = 0.1
"""Largest part of the interval by which a pause is shorter or longer, so that workers of a fleet do not act at once."""


class Ticker:
    """Calls a function periodically on its own thread until it is stopped.

    An error is logged, and the next call comes after the usual interval; so the clock survives an outage of the
    database.

    Args:
        name: the name of the clock, of its thread, and of its entries in `/healthz` and in the metrics.
        interval_seconds: seconds between the end of one call and the start of the next, up to `JITTER`.
        act: the function to call.
    """

    def __init__(self, name: str, interval_seconds: float, act: Callable[[], None]) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self._succeeded_at = time.monotonic()
        self._act = act
        self._stopped = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; the first call happens immediately."""
        self._thread.start()

    def stop(self) -> None:
        """Make no further call, and wait up to `STOP_SECONDS` for the running one."""
        self._stopped = True
        self._woken.set()
        self._thread.join(STOP_SECONDS)

    def call_soon(self) -> None:
        """Make the next call now, or right after the running one."""
        self._woken.set()

    @property
    def age_seconds(self) -> float:
        """Seconds since a call last returned without an error, or since this clock was made."""
        return time.monotonic() - self._succeeded_at

    def _loop(self) -> None:
        while not self._stopped:
            self._woken.clear()
            try:
                self._act()
                self._succeeded_at = time.monotonic()
            except Exception as error:  # one failed call must not stop the clock
                if is_away(error):
                    log.warning("the database is away", thread=self._thread.name, error=str(error).splitlines()[0])
                else:
                    log.exception("a tick failed", thread=self._thread.name)
            self._woken.wait(self.interval_seconds * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret
