"""Waiting for an engine that does not answer: it is restarted by its owner while runs go on, and comes back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, local
from typing import TypeVar

import structlog

from relay_workers.containers.port import EngineUnavailable

T = TypeVar("T")
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.1, 2.0

log = structlog.get_logger(__name__)


class Patience:
    """How long verbs that may be repeated are repeated.

    Args:
        seconds: of silence; 0: not at all.
    """

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._ended = Event()
        self._here = local()

    def end(self) -> None:
        """This worker goes away: wait no longer, now and from now on."""
        self._ended.set()

    @contextmanager
    def until(self, unwanted: Event) -> Iterator[None]:
        """In this thread and block, wait only until ``unwanted`` is set: what is asked for is not needed then."""
        self._here.unwanted = unwanted
        try:
            yield
        finally:
            self._here.unwanted = None

    def _is_over(self) -> bool:
        unwanted: Event | None = getattr(self._here, "unwanted", None)
        return self._ended.is_set() or (unwanted is not None and unwanted.is_set())

    def keep(self, verb: Callable[[], T]) -> T:
        """The answer of ``verb``, repeated while the engine is silent.

        Raises:
            EngineUnavailable: it was for too long, or is in some other trouble.
        """
        deadline = time.monotonic() + self._seconds
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                return verb()
            except EngineUnavailable as error:
                if not error.silent or time.monotonic() >= deadline or self._is_over():
                    raise
                log.warning("the container engine is away", error=str(error), retry_seconds=backoff)
            self._ended.wait(backoff)
            backoff = min(LAST_BACKOFF_SECONDS, 2 * backoff)
