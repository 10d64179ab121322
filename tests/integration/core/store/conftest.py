"""A database in which two nodes have said that they live."""

import pytest
from sqlalchemy import Engine

from relay_core.store.nodes import runtime_nodes


@pytest.fixture
def db(database: Engine) -> Engine:
    with database.begin() as connection:
        for node in ("node-1", "node-2"):
            runtime_nodes.heartbeat(connection, node, pool="default", client_version="0", capabilities={})
    return database
