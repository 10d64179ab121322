"""A database with two live nodes, and the parts that a sweep of presence needs."""

from types import SimpleNamespace

import pytest

from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from tests.support.presence_acts import watched
from tests.support.store_acts import OTHER


@pytest.fixture
def db(database: Database) -> Database:
    with database.begin() as connection:
        for node in ("node-1", "node-2"):
            runtime_nodes.heartbeat(connection, node, pool="default", client_version="0", capabilities={})
    return database


@pytest.fixture
def at_work(db: Database) -> Database:
    """A database whose nodes are watched."""
    watched(db)
    return db


@pytest.fixture
def context(at_work: Database, redis_url: str):
    """The parts of a worker on node-2 that sweep presence."""
    settings = Settings(redis_url=redis_url)
    live_logs = LiveLogPublisher(settings)
    parts = {"database": at_work, "logs": LogStore(at_work), "live_logs": live_logs}
    return SimpleNamespace(settings=settings, claimant=OTHER, **parts)
