"""Repeats calls to a container engine that gives no answer: its owner restarts it while steps go on in containers."""

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
    """Repeats a call to the engine while the engine is silent; one for a worker process, usable from many threads.

    Args:
        seconds: how long an engine may be silent before its error is raised; 0 raises the first one.
    """

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._stopped = Event()
        self._of_thread = local()

    def stop(self) -> None:
        """End all waiting, now and in later calls: this worker process is shutting down."""
        self._stopped.set()

    @contextmanager
    def until(self, unwanted: Event) -> Iterator[None]:
        """Repeat nothing in this thread and block once ``unwanted`` is set, as the answer is not needed any more.

        A wait between two tries that has begun is finished: at most `BACKOFF.last_seconds`.
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
        """The answer of ``verb``, which is repeated while it raises a silent `EngineUnavailable`.

        Raises:
            EngineUnavailable: the engine was silent for too long, or the error is not one of silence.
        """
        deadline = time.monotonic() + self._seconds

        def is_retryable(error: Exception) -> bool:
            silent = isinstance(error, EngineUnavailable) and error.silent
            return silent and time.monotonic() < deadline and self._may_repeat()

        def report(error: Exception, pause: float) -> None:
            log.warning("the container engine is away", error=str(error), retry_seconds=pause)

        return until_available(verb, BACKOFF, is_retryable=is_retryable, report=report, wait=self._stopped.wait)
