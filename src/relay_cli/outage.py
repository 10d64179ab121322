"""A watcher's patience with an API that goes away: the run itself goes on, and the API may come back elsewhere."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from relay_cli.client import Api, ApiAway
from relay_cli.errors import CommandFailed
from relay_core.console.output import note
from relay_core.retry import Backoff

T = TypeVar("T")

PATIENCE_SECONDS = 90.0
"""Without an answer; a stack that is ended and started again takes seconds."""
BACKOFF = Backoff(first_seconds=0.2, last_seconds=3.0)
WATCH_LOST_EXIT_CODE = 125
"""As of `docker run`: what failed is the tool, nothing is known of the command."""
AWAY = (httpx.TransportError, ApiAway)


class WatchLost(CommandFailed):
    """The API does not come back; how the run ended is not known here."""


class Outage:
    """One watcher's view of its API; tells once of each outage."""

    def __init__(self, api: Api, see_also: str) -> None:
        self._api = api
        self._see_also = see_also
        self._since: float | None = None
        self._pauses = BACKOFF.pauses()

    def wait(self, why: object) -> None:
        """Let some time pass before the next try, and look where the local stack is now.

        Raises:
            WatchLost: it has lasted too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            note(f"the API is away ({why or type(why).__name__}); waiting for it, the run goes on")
        elif now - self._since > PATIENCE_SECONDS:
            message = f"the API at {self._api.url} does not come back; the run goes on: {self._see_also}"
            raise WatchLost(message, WATCH_LOST_EXIT_CODE)
        time.sleep(next(self._pauses))
        self._api.find_again()

    def over(self) -> None:
        """It answers."""
        self._since, self._pauses = None, BACKOFF.pauses()


def steadily(api: Api, see_also: str, ask: Callable[[], T]) -> T:
    """Ask until there is an answer; only for what may be asked twice.

    Raises:
        WatchLost: there is none for too long.
    """
    outage = Outage(api, see_also)
    while True:
        try:
            return ask()
        except AWAY as error:
            outage.wait(error)
