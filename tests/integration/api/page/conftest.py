"""A headless Chromium, an API that it reaches, and the worker whose part a test plays."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_on_a_port, settings_for
from tests.support.browser_fixtures import chromium

HOSTS = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    settings = settings_for(database_url, redis_url, api_allowed_hosts=HOSTS, flower_url="http://flower.example")
    with api_on_a_port(database, settings) as api:
        yield api


@pytest.fixture
def worker(database: Database, redis_url: str, database_url: str) -> Worker:
    return Worker(database, LiveLogPublisher(settings_for(database_url, redis_url)))
