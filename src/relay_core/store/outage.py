"""Judges errors of the database by their SQLSTATE and the state of the connection; no other module does.

The class of an exception does not tell: psycopg2 raises a read-only server as `InternalError`, a deadlock as
`OperationalError`. Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html

`SQLAlchemyError` and, of the driver, `DBAPIError` are for handlers in other packages.
"""

import psycopg2
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from relay_core.domain.errors import RelayError

__all__ = [
    "LOCK_NOT_AVAILABLE",
    "DBAPIError",
    "LogStoreUnavailable",
    "SQLAlchemyError",
    "is_away",
    "is_conflict",
    "is_of_the_data",
    "is_read_only",
    "sqlstate",
]

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE: a lock was not granted in time."""
_AWAY_CLASSES = {
    "08",  # the connection
    "40",  # the transaction was rolled back: serialization, deadlock
    "53",  # resources: disk full, memory, too many connections
    "57",  # an operator: shutdown, recovery, statement timeout
    "58",  # the system: input and output
}
_AWAY = {
    "25006",  # read-only: a standby, or a provider whose disk is full
    "25P03",  # idle in a transaction for too long
    "25P04",  # the transaction took too long
    LOCK_NOT_AVAILABLE,
}
_OF_THE_DATA = {"22", "23"}


class LogStoreUnavailable(RelayError):  # noqa: N818 - reads as what it says
    """Postgres did not confirm an append: it may have stored the bytes or not, and the repeated append finds out."""


def sqlstate(error: BaseException) -> str | None:
    """The code of an error of the driver, or of SQLAlchemy around one; None where the server named none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.pgcode if isinstance(cause, psycopg2.Error) else None


def is_away(error: BaseException) -> bool:
    """Whether the statement may succeed later: Postgres is away or overloaded, and the statement is not at fault."""
    if isinstance(error, PoolTimeout | LogStoreUnavailable):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = sqlstate(error)
    if code is not None:
        return code in _AWAY or code[:2] in _AWAY_CLASSES
    cause = error.orig if isinstance(error, DBAPIError) else error
    # Without a code it is libpq's own word, about a connection that could not be made or was lost.
    return (
        isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError) or type(cause) is psycopg2.DatabaseError
    )


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way (deadlock, serialization): the same may be tried again at once."""
    return (sqlstate(error) or "").startswith("40")


def is_read_only(error: BaseException) -> bool:
    """Whether the server takes no writes: a connection to it is of no use, a new one may find the primary."""
    return sqlstate(error) == "25006"


def is_of_the_data(error: BaseException) -> bool:
    """Whether the data itself was refused (a constraint, a value): the same will be refused again."""
    return (sqlstate(error) or "")[:2] in _OF_THE_DATA
