"""Repeat a call while a service is away, with pauses that double. All of Relay uses this module for that.

It is not a library because each caller here stops repeating in its own way: `wait` raises an error of the caller's
between two tries, or the call itself raises one. With tenacity each caller would need a `stop`, a `sleep` and a
`before_sleep`, which is more code than this module.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries.

    Attributes:
        first_seconds: the pause after the first failure; each further pause is twice as long.
        last_seconds: the longest pause.
    """

    first_seconds: float
    last_seconds: float

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each next try; the iterator never ends."""
        pause = self.first_seconds
        while True:
            yield pause
            pause = min(self.last_seconds, 2 * pause)


def until_available(
    call: Callable[[], T],
    backoff: Backoff,
    *,
    is_retryable: Callable[[Exception], bool],
    report: Callable[[Exception, float], None],
    wait: Callable[[float], object] = time.sleep,
) -> T:
    """Call ``call`` until it succeeds and return its result; raise the first error that is not retryable.

    Args:
        call: the function to call. It must be safe to repeat after a retryable error.
        backoff: the pauses between calls.
        is_retryable: returns whether an error of ``call`` passes with time; any other error is raised at once.
        report: called before each pause with the error and the length of the pause in seconds; usually logs them.
        wait: called with the length of each pause in seconds; returns when the pause is over. `threading.Event.wait`
            can cut a pause short. An error raised here ends the repetition.
    """
    for pause in backoff.pauses():
        try:
            return call()
        except Exception as error:
            if not is_retryable(error):
                raise
            report(error, pause)
        wait(pause)
    raise AssertionError("pauses have no end")
