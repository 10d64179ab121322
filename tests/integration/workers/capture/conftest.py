"""The pump of one worker, and an execution that owns a log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_core.settings import Settings
from relay_core.store.transaction import Database
from tests.support.log_fixtures import Bench, Owned, running_execution


@pytest.fixture
def bench(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(database, Settings(redis_url=redis_url), tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def owned(database: Database) -> Owned:
    return running_execution(database)
