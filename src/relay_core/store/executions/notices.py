"""Notices to an incarnation of a worker: a kill of one of its executions was requested, or one was taken from it.

A notice is a NOTIFY of Postgres, and makes the incarnation renew its lease at once; that renewal tells what happened. A
notice is lost if its worker does not listen then, or listens through a pooler that shares connections. The next regular
renewal tells the same.
"""

import selectors
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

_NOTIFY = text("SELECT pg_notify(channel, '') FROM unnest(:channels) AS channel").bindparams(
    bindparam("channels", type_=ARRAY(TEXT))
)


def notify(connection: Connection, owners: Collection[str]) -> None:
    """Send a notice to incarnations when the transaction commits.

    Args:
        connection: the transaction that stores what the incarnations have to know.
        owners: the incarnations.
    """
    if owners:
        connection.execute(_NOTIFY, {"channels": sorted(map(_channel, owners))})


def listen(engine: Engine, owner: str, told: Callable[[], None]) -> None:
    """Call a function once the connection listens, and then after each notice to an incarnation, until it is lost.

    Args:
        engine: opens a connection, which does not count among those of its pool.
        owner: the incarnation.
        told: must return soon.

    Raises:
        SQLAlchemyError: Postgres is away.
        psycopg2.Error: the connection is lost.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()
        connection.execute(text(f"LISTEN {_channel(owner)}"))
        driver: Any = connection.connection.dbapi_connection
        with selectors.DefaultSelector() as selector:
            selector.register(driver, selectors.EVENT_READ)
            told()  # of what happened while it did not listen
            while True:
                selector.select()
                driver.poll()
                if driver.notifies:
                    driver.notifies.clear()
                    told()


def _channel(owner: str) -> str:
    """Return the name of the channel of an incarnation; names of channels are short, so it is a digest."""
    return f"relay_{sha256(owner.encode()).hexdigest()[:32]}"
