"""Wait while the API is unavailable. The run continues meanwhile, and the local stack may return on another port."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from relay_cli.client import ERRNO, Api, ApiUnavailable
from relay_cli.errors import CommandFailed
from relay_cli.exit_codes import LOST_CONTACT
from relay_core.console.output import note
from relay_core.retry import Backoff

T = TypeVar("T")

GIVE_UP_SECONDS = 90.0
"""Seconds of an outage of the API after which a command gives up. A restart of the local stack takes a few seconds."""
BACKOFF = Backoff(first_seconds=0.2, last_seconds=3.0)
"""Pauses between two requests during an outage."""
UNAVAILABLE = (httpx.TransportError, ApiUnavailable)
"""Errors that mean that the API is away: the request may be sent again."""


class WatchLost(CommandFailed):
    """Raised when the API stays unavailable for too long, so the command does not know how the run ended."""


class Outage:
    """Waits during outages of the API, for one command; it prints one note for each outage.

    Args:
        api: client of the API. After each pause, it reads the address of the local stack again.
        see_also: command that shows the run later, for the message if this command gives up.
    """

    def __init__(self, api: Api, see_also: str) -> None:
        self._api = api
        self._see_also = see_also
        self._since: float | None = None
        self._pauses = BACKOFF.pauses()

    def wait(self, error: Exception) -> None:
        """Pause after a request failed with ``error``; the caller then sends it again.

        Raises:
            WatchLost: the outage has lasted longer than GIVE_UP_SECONDS.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            why = ERRNO.sub("", str(error)) or type(error).__name__
            note(f"the API is away ({why}); waiting for it, the run goes on")
        elif now - self._since > GIVE_UP_SECONDS:
            message = f"the API at {self._api.url} does not come back; the run goes on: {self._see_also}"
            raise WatchLost(message, LOST_CONTACT)
        time.sleep(next(self._pauses))
        self._api.find_again()

    def end(self) -> None:
        """Record that the API answers again, so that the next outage starts with the shortest pause."""
        self._since, self._pauses = None, BACKOFF.pauses()


def until_answered(api: Api, see_also: str, ask: Callable[[], T]) -> T:
    """Call ``ask`` until the API answers, and return the result.

    Args:
        api: client of the API that ``ask`` calls.
        see_also: command that shows the run later, for the message if this command gives up.
        ask: sends the request; it must be safe to repeat.

    Raises:
        WatchLost: the outage has lasted longer than GIVE_UP_SECONDS.
    """
    outage = Outage(api, see_also)
    while True:
        try:
            return ask()
        except UNAVAILABLE as error:
            outage.wait(error)
