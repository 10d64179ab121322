"""A clock of a worker: one thread that calls one function again and again."""

import threading
import time
from collections.abc import Callable

import structlog

from relay_core.store.outage import is_away

log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0


class Ticker:
    """Calls a function repeatedly on a thread of its own until it is stopped.

    An error is logged, and the next call comes after the same interval; so an unreachable database is waited out.

    Args:
        name: of the clock; it names the thread and appears in `/healthz` and in metrics.
        interval_seconds: between the end of one call and the begin of the next.
        act: the function.
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
        """Start the thread; the first call happens at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let no further call begin, and wait up to `STOP_SECONDS` for the one under way."""
        self._stopped = True
        self._woken.set()
        self._thread.join(STOP_SECONDS)

    def call_soon(self) -> None:
        """Let the next call begin now, or right after the one under way."""
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
            except Exception as error:  # one failed call must not end the clock
                if is_away(error):
                    log.warning("the database is away", thread=self._thread.name, error=str(error).splitlines()[0])
                else:
                    log.exception("a tick failed", thread=self._thread.name)
            self._woken.wait(self.interval_seconds)
