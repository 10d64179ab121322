"""Ask something that may never answer, such as a disk that hangs, and wait for a bounded time only."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

BOUND_SECONDS = 2.0
"""Longest time for which the first caller waits for the answer; while the question hangs, later ones do not wait."""


@dataclass(frozen=True)
class Seen(Generic[T]):
    """The result of a look."""

    value: T | None
    """None: there is no answer, and `problem` says why."""
    problem: str = ""
    """The reason as the end of a sentence, with the age of a question that hangs."""


class BoundedLook(Generic[T]):
    """Asks on a thread of its own. While a question hangs, no second one is asked. Thread-safe.

    Args:
        name: name of the thread.
        ask: the question; an error counts as no answer.
        bound_seconds: longest time to wait for the answer.
    """

    def __init__(self, name: str, ask: Callable[[], T], bound_seconds: float = BOUND_SECONDS) -> None:
        self._name = name
        self._ask = ask
        self._bound_seconds = bound_seconds
        self._lock = threading.Lock()
        self._newest: _Question[T] | None = None

    def look(self, fresh_seconds: float = 0.0) -> Seen[T]:
        """Return the answer, or that there is none yet.

        Args:
            fresh_seconds: an answer to a question that was asked so recently is returned without a new question.
        """
        with self._lock:
            question = self._newest
            if question is None or (question.seen is not None and question.age_seconds >= fresh_seconds):
                question = self._newest = _Question(self._name, self._ask)
        question.wait(self._bound_seconds)
        return question.seen or Seen(None, f"has not answered for {question.age_seconds:.0f} s")


class _Question(Generic[T]):
    """One question, on its thread."""

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        self.seen: Seen[T] | None = None
        self._ask = ask
        self._asked_at = time.monotonic()
        self._answered = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._asked_at

    def wait(self, bound_seconds: float) -> None:
        self._answered.wait(max(0.0, bound_seconds - self.age_seconds))

    def _run(self) -> None:
        try:
            self.seen = Seen(self._ask())
        except OSError as error:
            self.seen = Seen(None, f"answers with an error: {error}")
        except Exception as error:  # top of the thread: without an answer, no later question would ever be asked
            log.exception("a look broke; the next one asks again", look=threading.current_thread().name)
            self.seen = Seen(None, f"cannot be asked: {type(error).__name__}")
        finally:
            self._answered.set()
