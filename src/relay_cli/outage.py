"""Waits while the API is unavailable: the run goes on without it, and the local stack may return on another port."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from relay_cli.client import Api, ApiUnavailable
from relay_cli.errors import CommandFailed
from relay_core.console.output import note
from relay_core.retry import Backoff

T = TypeVar("T")

GIVE_UP_SECONDS = 90.0
"""A command gives up when the API has been unavailable for so long. A restart of the local stack takes seconds."""
BACKOFF = Backoff(first_seconds=0.2, last_seconds=3.0)
"""Pauses between two requests during an outage."""
WATCH_LOST_EXIT_CODE = 125
"""As `docker run` uses it: the tool failed, and how the command ended is unknown."""
UNAVAILABLE = (httpx.TransportError, ApiUnavailable)
"""Errors of a request that may be sent again during an outage."""


class WatchLost(CommandFailed):
    """The API did not return in time, so this command cannot say how the run ended."""


class Outage:
    """The outage of one API as one command sees it; each outage is noted once.

    Args:
        api: client of the API; after each pause it looks for the local stack again.
        see_also: command that shows the run later, for the message when this one gives up.
    """

    def __init__(self, api: Api, see_also: str) -> None:
        self._api = api
        self._see_also = see_also
        self._since: float | None = None
        self._pauses = BACKOFF.pauses()

    def wait(self, error: Exception) -> None:
        """Pause before the request that failed with ``error`` is sent again.

        Raises:
            WatchLost: the outage has lasted longer than GIVE_UP_SECONDS.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            note(f"the API is away ({str(error) or type(error).__name__}); waiting for it, the run goes on")
        elif now - self._since > GIVE_UP_SECONDS:
            message = f"the API at {self._api.url} does not come back; the run goes on: {self._see_also}"
            raise WatchLost(message, WATCH_LOST_EXIT_CODE)
        time.sleep(next(self._pauses))
        self._api.find_again()

    def end(self) -> None:
        """Note that the API answers again; the next outage starts with the first pause."""
        self._since, self._pauses = None, BACKOFF.pauses()


def until_answered(api: Api, see_also: str, ask: Callable[[], T]) -> T:
    """Call ``ask`` until the API answers it; ``ask`` must be safe to repeat.

    Args:
        api: client of the API that ``ask`` calls.
        see_also: command that shows the run later.
        ask: sends the request.

    Raises:
        WatchLost: the outage has lasted longer than GIVE_UP_SECONDS.
    """
    outage = Outage(api, see_also)
    while True:
        try:
            return ask()
        except UNAVAILABLE as error:
            outage.wait(error)
