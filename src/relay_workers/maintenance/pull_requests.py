"""Asks the hosts of open pull requests for their status. One worker at a time does it for all nodes."""

import time
from collections.abc import Callable

import structlog

from relay_core.domain.errors import RelayError
from relay_core.secret_box import SecretName
from relay_core.store.merges import pull_requests
from relay_core.store.merges.pull_requests import Due
from relay_core.store.transaction import Database
from relay_workers.execution.pull_request_act import Tokens, told_of
from relay_workers.forges.port import ForgeFailed
from relay_workers.forges.registry import FORGES
from relay_workers.maintenance.each_item import act_on_each

log = structlog.get_logger(__name__)


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
        self._silent_until: dict[str, float] = {}

    def sweep(self) -> int:
        """Ask about every pull request that is due; return how many have another status now.

        A host whose rate limit is used up is not asked again before the time that it named.
        """
        with self._database.connect() as connection:
            due = pull_requests.due(connection, self._seconds)
        changed: list[Due] = []

        def ask(each: Due) -> None:
            if self._ask(each):
                changed.append(each)

        act_on_each(due, ask)
        return len(changed)

    def _ask(self, each: Due) -> bool:
        try:
            place = self._tokens.forges.place_of(each.url)
            if self._now() < self._silent_until.get(place.api_url, 0.0):
                return False
            token = self._tokens.of(SecretName(each.project_id, each.token_secret or place.kind.token_secret))
            found = FORGES[place.kind].get(place, each.number, token)
        except ForgeFailed as error:
            if error.retry_seconds is not None:
                self._silent_until[place.api_url] = self._now() + error.retry_seconds
            return self._failed(each, error)
        except RelayError as error:
            return self._failed(each, error)
        with self._database.begin() as connection:
            return pull_requests.told(connection, each.merge_id, told_of(found))

    def _failed(self, each: Due, error: RelayError) -> bool:
        log.warning("a pull request cannot be asked about", merge_id=str(each.merge_id), why=str(error))
        with self._database.begin() as connection:
            pull_requests.failed(connection, each.merge_id, str(error))
        return False
