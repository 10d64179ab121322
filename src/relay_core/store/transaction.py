"""Transactions that send their queue messages after the commit.

A store function that allows an execution to start hands the execution's id to `send_after_commit`; one that asks for
the end of a running execution hands its Celery task id to `revoke_after_commit`. `Database` opens the transaction, and
sends the messages and revokes once it is committed, so no caller has to remember it. A transaction that is rolled back,
or repeated after a deadlock, sends nothing for the attempts that failed. A message that is lost between commit and
sending is sent again by a periodic check of the workers (`messages.undispatched`).
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError

from relay_core.domain.admission import RAISE_SECONDS
from relay_core.domain.message import QueueMessage
from relay_core.store.admission import raising
from relay_core.store.admission.admit import admitted_messages
from relay_core.store.outage import is_conflict

log = structlog.get_logger(__name__)

TRIES = 4
"""Most attempts that `Database.transact` makes."""
PAUSE_SECONDS = 0.05
"""Half of the longest pause, in seconds, after the first attempt.

Each pause is random, and its upper bound doubles with each attempt, so that two transactions that were in each other's
way do not meet again.
"""
_OPTION = "relay_after_commit"

T = TypeVar("T")


class Publisher(Protocol):
    """Sends queue messages and revokes; neither method raises an error if the queue does not answer."""

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send one message for each execution that may start."""

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Ask all workers to stop these Celery tasks."""


class NotCollectedError(RuntimeError):
    """A store function that sends messages ran on a connection that `Database.begin` did not open.

    Its messages would never be sent.
    """


@dataclass
class _AfterCommit:
    """The ids that a transaction has collected so far for the time after its commit."""

    execution_ids: list[UUID] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)
    freed: bool = False


def send_after_commit(connection: Connection, execution_ids: Iterable[UUID]) -> None:
    """Send the queue messages of executions once the transaction of ``connection`` is committed.

    An execution that is not queued any more at the end of the transaction gets no message; an execution that was passed
    twice gets one. The message of an execution whose run has to wait for its admission is sent when it is admitted.

    Raises:
        NotCollectedError: the connection was not opened by `Database.begin` or `Database.transact`.
    """
    _after_commit(connection).execution_ids += execution_ids


def admit_next(connection: Connection) -> None:
    """Admit waiting runs at the end of the transaction, because a place for a run became free in it.

    Raises:
        NotCollectedError: the connection was not opened by `Database.begin` or `Database.transact`.
    """
    _after_commit(connection).freed = True


def revoke_after_commit(connection: Connection, task_ids: Iterable[str]) -> None:
    """Revoke Celery tasks once the transaction of ``connection`` is committed.

    Raises:
        NotCollectedError: the connection was not opened by `Database.begin` or `Database.transact`.
    """
    _after_commit(connection).task_ids += task_ids


def _after_commit(connection: Connection) -> _AfterCommit:
    found = connection.get_execution_options().get(_OPTION)
    if not isinstance(found, _AfterCommit):
        raise NotCollectedError(
            "this use case sends queue messages: call it within Database.begin() or Database.transact()"
        )
    return found


class Database:
    """Postgres with a publisher: a transaction opened here sends its collected messages after its commit.

    Args:
        engine: the connections, from `make_database`.
        publisher: gets the messages and task ids of each committed transaction, once, on the caller's thread.
        raise_seconds: seconds of waiting that raise a run by one level of priority.
    """

    def __init__(self, engine: Engine, publisher: Publisher, *, raise_seconds: float = RAISE_SECONDS) -> None:
        self.engine = engine
        self.publisher = publisher
        self._options = {raising.OPTION: raise_seconds}
        self._reading = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True, **self._options
        )

    def connect(self) -> Connection:
        """Return a connection for reading: all that is read before it is closed is of one moment (one snapshot).

        Postgres refuses writes on it.
        """
        return self._reading.connect()

    @contextmanager
    def single_statements(self) -> Iterator[Connection]:
        """Open a connection on which each statement is a transaction of its own, which is one request to Postgres.

        A transaction of one statement is three requests otherwise, and SQLAlchemy's isolation level AUTOCOMMIT adds two
        requests for each use. No message can be collected on this connection.
        """
        with self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.autocommit = True
            try:
                yield connection
            finally:
                if not driver.closed:
                    driver.autocommit = False

    def raw_connection(self) -> PoolProxiedConnection:
        """Return a connection of the driver itself, for COPY."""
        return self.engine.raw_connection()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open one transaction: committed at the end of the block, rolled back if the block raises an error.

        Messages and revokes that were collected in the block are sent after the commit, and only then.
        """
        collected = _AfterCommit()
        with self.engine.begin() as connection:
            connection.execution_options(**{_OPTION: collected}, **self._options)
            yield connection
            due = admitted_messages(connection, collected.execution_ids, freed=collected.freed)
        if due:
            self.publisher.dispatch(due)
        if collected.task_ids:
            self.publisher.revoke(collected.task_ids)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result; after a deadlock or serialization failure, repeat it.

        Args:
            work: called once for each attempt, each time with a new transaction, so it must do nothing but read and
                write in that transaction.
        """
        for tried in range(1, TRIES + 1):
            try:
                with self.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if tried == TRIES or not is_conflict(error):
                    raise
                log.info("a transaction met another one and is repeated", error=str(error).splitlines()[0])
            time.sleep(random.uniform(0, PAUSE_SECONDS * 2**tried))  # noqa: S311 - no secret
        raise AssertionError

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()
