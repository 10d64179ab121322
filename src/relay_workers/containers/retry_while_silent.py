"""Repeats calls to a container engine that gives no answer.

The operator may restart the engine while steps go on in their containers, so a silent engine is waited for.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, local
from typing import TypeVar

import structlog

from relay_core.retry import Backoff, until_available
from relay_workers.containers.port import EngineUnavailable

T = TypeVar("T")
BACKOFF = Backoff(first_seconds=0.1, last_seconds=2.0)

log = structlog.get_logger(__name__)


class RetryWhileSilent:
    """Repeats a call to the engine while the engine gives no answer. One per worker process, usable from many threads.

    Args:
        seconds: how long to repeat a call before its error is raised; 0 raises the first error.
    """

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._stopped = Event()
        self._of_thread = local()

    def stop(self) -> None:
        """Stop all repeating, now and in later calls, because this worker process is shutting down."""
        self._stopped.set()

    @contextmanager
    def until(self, unwanted: Event) -> Iterator[None]:
        """Inside the ``with`` block, repeat no call of this thread once ``unwanted`` is set.

        The caller sets it when the answer is no longer needed. A pause between two tries that has begun is completed;
        it takes at most `BACKOFF.last_seconds`.
        """
        self._of_thread.unwanted = unwanted
        try:
            yield
        finally:
            self._of_thread.unwanted = None

    def _may_repeat(self) -> bool:
        unwanted: Event | None = getattr(self._of_thread, "unwanted", None)
        return not (self._stopped.is_set() or (unwanted is not None and unwanted.is_set()))

    def call(self, verb: Callable[[], T]) -> T:
        """Return the result of ``verb``; repeat it while it raises an `EngineUnavailable` that is silent.

        Raises:
            EngineUnavailable: the engine gave no answer for too long, or it answered with a failure.
        """
        deadline = time.monotonic() + self._seconds

        def is_retryable(error: Exception) -> bool:
            silent = isinstance(error, EngineUnavailable) and error.silent
            return silent and time.monotonic() < deadline and self._may_repeat()

        def report(error: Exception, pause: float) -> None:
            log.warning("the container engine is away", error=str(error), retry_seconds=pause)

        return until_available(verb, BACKOFF, is_retryable=is_retryable, report=report, wait=self._stopped.wait)
