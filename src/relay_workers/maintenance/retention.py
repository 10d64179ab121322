"""Makes partitions ahead of their time, and drops those of logs that are older or larger than is kept."""

from collections.abc import Callable
from functools import partial

import structlog

from relay_core.domain.retention import Cause, Limits, Partition
from relay_core.settings import Settings
from relay_core.store.database import Connection
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.outage import LOCK_NOT_AVAILABLE, SQLAlchemyError, sqlstate
from relay_core.store.retention import log_retention, partitions
from relay_core.store.retention.partitions import LOG_CHUNKS
from relay_core.store.transaction import Database
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS = 3600.0
"""Time between two looks of the fleet."""
AGAIN_SECONDS = 60.0
"""Time until the next look if a table was in use."""
MOST_AT_ONCE = 10
"""Most partitions that one look drops."""


def sweep(database: Database, settings: Settings, metrics: Metrics) -> None:
    """Make partitions for the next weeks, and drop those that are not kept; one worker at a time, once an hour.

    A change of partitions waits for its locks for `partitions.LOCK_SECONDS` at most; then the rest is done later.
    """
    with database.begin() as connection:
        if not take_turn(connection, "partitions", LOOK_SECONDS):
            return
    limits = Limits(settings.log_retention_days or None, settings.log_retention_bytes or None)
    try:
        with database.connect() as connection:
            weeks = partitions.missing(connection, LOG_CHUNKS)
        for week in weeks:
            _act(database, partial(partitions.make, table=LOG_CHUNKS, week=week))
        with database.connect() as connection:
            due = log_retention.due(connection, limits)[:MOST_AT_ONCE]
        for found, cause in due:
            _drop(database, metrics, found, cause)
    except SQLAlchemyError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        log.info("a table is in use, so its partitions change later")
        with database.begin() as connection:
            partitions.look_again(connection, "partitions", LOOK_SECONDS - AGAIN_SECONDS)


def _drop(database: Database, metrics: Metrics, found: Partition, cause: Cause) -> None:
    _act(database, partial(log_retention.gather, partition=found))
    if _act(database, partial(log_retention.drop, partition=found, cause=cause)):
        metrics.swept("logs_removed")
        size = found.size_bytes
        log.info("removed logs", cause=cause, starts=str(found.starts), ends=str(found.ends), size_bytes=size)


def _act(database: Database, act: Callable[[Connection], bool | None]) -> bool | None:
    with database.begin() as connection:
        return act(connection)
