"""Classifies errors of the database by their SQLSTATE and the state of the connection; no other module does.

The class of an exception is not enough: psycopg2 raises `InternalError` for a read-only server and `OperationalError`
for a deadlock. Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html

`SQLAlchemyError` and `DBAPIError` (an error of the driver) are exported for handlers in other packages.
"""

import psycopg2
from psycopg2.errors import CheckViolation
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
    "is_of_a_partition",
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
    """Postgres did not confirm an append, so it may have stored the bytes or not.

    The caller repeats the append, which stores the bytes only if they are missing.
    """


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of the driver, also if SQLAlchemy wrapped it.

    None: the error has no code from the server.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.pgcode if isinstance(cause, psycopg2.Error) else None


def is_away(error: BaseException) -> bool:
    """Return whether the statement may succeed later, because Postgres is away or overloaded.

    False if the statement itself is at fault.
    """
    if isinstance(error, PoolTimeout | LogStoreUnavailable):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = sqlstate(error)
    if code is not None:
        return code in _AWAY or code[:2] in _AWAY_CLASSES
    cause = error.orig if isinstance(error, DBAPIError) else error
    # Without a code the error is libpq's own: a connection could not be made or was lost.
    return (
        isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError) or type(cause) is psycopg2.DatabaseError
    )


def is_conflict(error: BaseException) -> bool:
    """Return whether another transaction was in the way (deadlock, serialization failure).

    The same transaction may be tried again immediately.
    """
    return (sqlstate(error) or "").startswith("40")


def is_read_only(error: BaseException) -> bool:
    """Return whether the server refuses writes.

    Its connections are then useless; a new connection may reach the primary.
    """
    return sqlstate(error) == "25006"


def is_of_a_partition(error: psycopg2.Error) -> bool:
    """Return whether rows had to go to a default partition, and their own partition was made before they did.

    Postgres reports it like a violated check, but without the name of a constraint; the next try succeeds.
    """
    return isinstance(error, CheckViolation) and error.diag.constraint_name is None


def is_of_the_data(error: BaseException) -> bool:
    """Return whether Postgres refused the data itself (a constraint, a value).

    It would refuse the same data again.
    """
    return (sqlstate(error) or "")[:2] in _OF_THE_DATA
