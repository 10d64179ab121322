"""Connections to Postgres. Every process keeps one pool of them; transactions are short.

`Connection` and `Engine` are SQLAlchemy's, for signatures of other packages: only the store imports SQLAlchemy.
"""

import select
import time
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from relay_core.settings import Settings
from relay_core.store.outage import is_read_only

__all__ = ["Connection", "Engine", "make_database", "probe", "server_time"]

TRUSTED_SECONDS = 1.0
"""A connection that was used this many seconds ago is used again without a look at it."""
SILENT_SECONDS = 10.0
"""A connection that was used this many seconds ago is used again if nothing has arrived on its socket.

A server that ends a connection says so there. Only after a longer time it is asked whether it still answers, because
a network may have forgotten the connection in silence.
"""
_USED_AT = "relay_used_at"


def make_database(settings: Settings, *, application: str = "relay", connections: int | None = None) -> Engine:
    """Return a pool of connections that fail rather than hang.

    Connecting, statements and idle transactions have time limits.

    Args:
        settings: URL of the database and size of the pool.
        application: name of the connections in pg_stat_activity.
        connections: most connections at once; None: twice `database_pool_size`.
    """
    database = create_engine(
        settings.database_url,
        pool_size=connections or settings.database_pool_size,
        max_overflow=0 if connections else settings.database_pool_size,
        pool_timeout=10,
        hide_parameters=True,  # errors are logged, and parameters may be prompts, secrets or output
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": application,
        },
    )
    event.listen(database, "connect", _limit)
    event.listen(database, "checkin", _note_use)
    event.listen(database, "checkout", lambda found, entry, _: _check(database, found, entry))
    event.listen(database, "handle_error", _leave_a_standby)
    return database


def server_time(connection: Connection) -> float:
    """Return the time on the clock of Postgres, in seconds since the epoch."""
    return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)


def _note_use(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_USED_AT] = time.monotonic()


def _check(database: Engine, connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Ask Postgres whether a connection still works, unless it was used a short time ago and its socket is silent.

    The pool's own check would ask each time, with two more requests to leave autocommit afterwards.

    Raises:
        InvalidatePoolError: it does not; the pool then opens new connections.
    """
    idle = time.monotonic() - entry.info.get(_USED_AT, 0.0)
    if idle < TRUSTED_SECONDS or (idle < SILENT_SECONDS and _is_silent(connection)):
        return
    try:
        database.dialect.do_ping(connection)
    except database.dialect.loaded_dbapi.Error as error:
        if not database.dialect.is_disconnect(error, connection, None):
            raise
        raise InvalidatePoolError from error


def _is_silent(connection: Any) -> bool:
    """Return whether the connection is open, and neither bytes nor the end of the stream wait on its socket."""
    if connection.closed:
        return False
    looks = select.poll()
    looks.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return not looks.poll(0)


def _limit(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Set the time limits of a new connection.

    This is done with SQL, as a connection pooler in between may refuse the ``options`` argument of a connection.
    """
    cursor = connection.cursor()
    cursor.execute(
        "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'; SET timezone = 'UTC'"
    )
    cursor.close()
    connection.commit()
    _note_use(connection, entry)


def _leave_a_standby(context: ExceptionContext) -> None:
    """Drop the connections to a server that has become read-only.

    That happens in a failover; a new connection may reach the primary.
    """
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def probe(connection: Connection) -> None:
    """Run a query that needs no table; raises the driver's error if Postgres does not answer."""
    connection.execute(text("SELECT 1"))
