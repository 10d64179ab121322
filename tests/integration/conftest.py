"""A database that can be cut off."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from relay_core.store.transaction import Database
from tests.support.log_fixtures import cut_connections


@pytest.fixture
def outage(database: Database, database_url: str) -> Iterator[threading.Event]:
    """Set: the database takes no connections and has cut all it had."""
    admin = create_engine(
        make_url(database_url).set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    name = database.engine.url.database

    class Switch(threading.Event):
        def set(self) -> None:
            self._allow(False)
            cut_connections(database, database_url)
            super().set()

        def clear(self) -> None:
            self._allow(True)
            super().clear()

        def _allow(self, allowed: bool) -> None:
            with admin.connect() as connection:
                connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {str(allowed).lower()}'))

    switch = Switch()
    yield switch
    switch.clear()
