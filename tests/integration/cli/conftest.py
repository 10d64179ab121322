"""An API that the command line reaches by HTTP, and the worker whose part a test plays."""

from collections.abc import Iterator

import pytest

from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_on_a_port, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(api: Api) -> Iterator[Worker]:
    live = LiveLogPublisher(api.settings)  # without it, a follower sees new bytes after five seconds
    yield Worker(api.database, live)
    live.close()
