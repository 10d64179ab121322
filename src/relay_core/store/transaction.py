"""Transactions that send their queue messages after the commit.

A store function that lets an execution start, or asks for the end of a running one, hands its id to
`send_after_commit` or its Celery task id to `revoke_after_commit`. `Database` opens the transaction and sends the
messages and revokes once it is committed, so no caller of a use case has to remember it. A transaction that is rolled
back, or repeated after a deadlock, sends nothing for the tries that failed. A message that is lost between commit and
sending is sent again by a worker's sweep.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError

from relay_core.domain.message import QueueMessage
from relay_core.store.executions.messages import messages_of_queued
from relay_core.store.outage import is_conflict

log = structlog.get_logger(__name__)

TRIES = 4
"""How often `Database.transact` begins a transaction before it gives up."""
PAUSE_SECONDS = 0.05
"""Upper bound of the first pause between two tries; the pause is random and its bound doubles with each try, so that
two transactions that met once do not meet again."""
_OPTION = "relay_after_commit"

T = TypeVar("T")


class Publisher(Protocol):
    """Sends queue messages and revokes; neither method raises when the queue is away."""

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send one message for each execution that may start."""

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Tell all workers that these Celery tasks are to end."""


class NotCollectedError(RuntimeError):
    """A use case ran on a connection that `Database.begin` did not open, so its messages would never be sent."""


@dataclass
class _AfterCommit:
    """Ids that a transaction has collected so far."""

    execution_ids: list[UUID] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)


def send_after_commit(connection: Connection, execution_ids: Iterable[UUID]) -> None:
    """Have the queue messages of executions sent once the transaction of ``connection`` is committed.

    An execution that is not queued any more at the end of the transaction gets no message; one that was named twice
    gets one.

    Raises:
        NotCollectedError: the connection comes from elsewhere than `Database.begin` or `Database.transact`.
    """
    _after_commit(connection).execution_ids += execution_ids


def revoke_after_commit(connection: Connection, task_ids: Iterable[str]) -> None:
    """Have Celery tasks revoked once the transaction of ``connection`` is committed.

    Raises:
        NotCollectedError: the connection comes from elsewhere than `Database.begin` or `Database.transact`.
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
    """Postgres with a publisher: transactions opened here send what they collected after their commit.

    Args:
        engine: the connections, from `make_database`.
        publisher: gets the messages and task ids of each committed transaction, once, on the caller's thread.
    """

    def __init__(self, engine: Engine, publisher: Publisher) -> None:
        self.engine = engine
        self.publisher = publisher

    def connect(self) -> Connection:
        """A connection for reading; a use case that sends messages refuses it (`NotCollectedError`)."""
        return self.engine.connect()

    def raw_connection(self) -> PoolProxiedConnection:
        """A connection of the driver itself, for COPY."""
        return self.engine.raw_connection()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when the block raises.

        Messages and revokes that were collected in the block are sent after the commit, and only then.
        """
        collected = _AfterCommit()
        with self.engine.begin() as connection:
            connection.execution_options(**{_OPTION: collected})
            yield connection
            due = messages_of_queued(connection, collected.execution_ids) if collected.execution_ids else []
        if due:
            self.publisher.dispatch(due)
        if collected.task_ids:
            self.publisher.revoke(collected.task_ids)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result; a deadlock or serialization failure repeats it.

        Args:
            work: called once for each try, each time in a new transaction, so it must do nothing but read and write
                in it.
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
        """Close the connections."""
        self.engine.dispose()
