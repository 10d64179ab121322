"""Asks the hosts of open pull requests for their status. One worker at a time does it for all nodes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.domain.forges import ForgePlace
from relay_core.secret_box import SecretName
from relay_core.store.merges import pull_requests
from relay_core.store.merges.pull_requests import Due
from relay_core.store.transaction import Database
from relay_workers.execution.pull_request_act import Tokens, told_of
from relay_workers.forges.port import ForgeFailed
from relay_workers.forges.registry import FORGES
from relay_workers.maintenance.each_item import act_on_each

log = structlog.get_logger(__name__)


_MOST_SILENT_SECONDS = 3600.0


class _Asker(NamedTuple):
    """Whose limits a host counts: those of a token, at its API."""

    api_url: str
    secret: SecretName


def _asker(each: Due, place: ForgePlace) -> _Asker:
    return _Asker(place.api_url, SecretName(each.project_id, each.token_secret or place.kind.token_secret))


class PullRequests:
    """Follows open pull requests until they are merged or closed.

    Args:
        database: stores their status.
        tokens: the tokens for their hosts.
        seconds: time between two questions about one pull request.
    """

    def __init__(
        self, database: Database, tokens: Tokens, seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._seconds = seconds
        self._now = now
        self._silent_until: dict[_Asker, float] = {}

    def sweep(self) -> int:
        """Ask about every pull request that is due; return how many have another status now.

        A host at which the rate limit of a token is used up is not asked again with it before the time that it named.
        """
        now = self._now()
        self._silent_until = {asker: until for asker, until in self._silent_until.items() if until > now}
        with self._database.connect() as connection:
            due = pull_requests.due(connection, self._seconds, self._may_ask)
        changed: list[Due] = []

        def ask(each: Due) -> None:
            if self._ask(each):
                changed.append(each)

        act_on_each(due, ask)
        return len(changed)

    def _ask(self, each: Due) -> bool:
        if not self._may_ask(each):  # since this sweep began
            return False
        try:
            place = self._tokens.forges.place_of(each.url)
            asker = _asker(each, place)
            found = FORGES[place.kind].get(place, each.number, self._tokens.of(asker.secret))
        except ForgeFailed as error:
            if error.retry_seconds is not None:
                self._silent_until[asker] = self._now() + min(error.retry_seconds, _MOST_SILENT_SECONDS)
            return self._failed(each, error)
        except RelayError as error:
            return self._failed(each, error)
        with self._database.begin() as connection:
            return pull_requests.told(connection, each.merge_id, told_of(found))

    def _may_ask(self, each: Due) -> bool:
        try:
            asker = _asker(each, self._tokens.forges.place_of(each.url))
        except InvalidInput:
            return True  # to say so
        return asker not in self._silent_until

    def _failed(self, each: Due, error: RelayError) -> bool:
        log.warning("a pull request cannot be asked about", merge_id=str(each.merge_id), why=str(error))
        with self._database.begin() as connection:
            pull_requests.failed(connection, each.merge_id, str(error))
        return False
