"""Waits for a state that offers no event, such as an answer of the API."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 60.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.4
_PAUSE_PER_LOOK = 20
"""Pause after a look, as a multiple of its duration: the looks of a waiting test take a twenty-first of a processor at most.

Several tests wait beside each other, and each look at a whole Relay takes time of the API and of Postgres."""


def eventually(
    look: Callable[[], T],
    what: str | Callable[[], str] = "the state",
    seconds: float = WAIT_SECONDS,
    least_pause: float = _PAUSE_SECONDS,
) -> T:
    """Return the first true result of ``look``.

    Args:
        look: asks for the state; called again and again.
        what: names the state in the failure; a function is called for a longer text.
        seconds: how long to wait.
        least_pause: seconds between two looks, at least.

    Raises:
        AssertionError: the state did not come in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if result := look():
            return result
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(
                f"not within {seconds} s: {what}" if isinstance(what, str) else f"not within {seconds} s: {what()}"
            )
        time.sleep(min(max(least_pause, _PAUSE_PER_LOOK * (now - began)), _LONGEST_PAUSE_SECONDS))
