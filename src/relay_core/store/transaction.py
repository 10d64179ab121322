"""A transaction that is repeated when another one was in its way."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay_core.store.outage import is_conflict

log = structlog.get_logger(__name__)

TRIES = 4
PAUSE_SECONDS = 0.05
"""The longest first pause; it is drawn, so that two that were in each other's way do not meet again, and doubles."""

T = TypeVar("T")


def transact(database: Engine, work: Callable[[Connection], T]) -> T:
    """What ``work`` answers, committed; repeated after a deadlock or a serialization failure.

    Args:
        database: where.
        work: called with a new transaction each time, so it must do nothing but read and write in it.
    """
    for tried in range(1, TRIES + 1):
        try:
            with database.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if tried == TRIES or not is_conflict(error):
                raise
            log.info("a transaction met another one and is repeated", error=str(error).splitlines()[0])
        time.sleep(random.uniform(0, PAUSE_SECONDS * 2**tried))  # noqa: S311 - no secret
    raise AssertionError
