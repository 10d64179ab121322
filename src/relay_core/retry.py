"""The one backoff of Relay: repeat a call while a service is away, with pauses that double.

Own code and not a library: a caller here ends its repetition between a pause and the next try, with an error of its
own (`wait` raises it), or inside the call itself. With tenacity each of them would need a `stop`, a `sleep` and a
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
        """Seconds to wait before each next try, without end."""
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
    """Return the answer of ``call``, repeated while it fails with a retryable error.

    Args:
        call: must be safe to repeat after an error that is retryable.
        backoff: the pauses.
        is_retryable: whether an error of ``call`` passes with time; any other error is raised at once.
        report: called before each pause with the error and the length of the pause in seconds; usually logs them.
        wait: lets a pause pass. `threading.Event.wait` cuts it short; an error raised here ends the repetition.
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
