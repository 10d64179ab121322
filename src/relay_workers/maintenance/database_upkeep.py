"""Keeps the database small: deletes old rows and compacts finished logs, a limited amount in each round."""

import time

import structlog

from relay_core.settings import Settings
from relay_core.store import global_events, idempotency
from relay_core.store.advisory_lock import try_sweep_lock
from relay_core.store.executions import leases
from relay_core.store.logs import compaction
from relay_core.store.nodes import gone
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.shared import images
from relay_core.store.transaction import Database
from relay_core.store.transfer import parts
from relay_workers.maintenance import idle_workspaces, retention
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)

FORGET_SECONDS = 3600.0
"""Time between two removals of the rows of incarnations that are long over, and between two looks for gone nodes."""
IMAGES_SECONDS = 60.0
"""Time between two removals of uploaded images that belong to no task."""
DAY_SECONDS = 86400.0
COMPACTION_SECONDS = 1.0
"""Largest number of seconds per round for compaction: a fifth of the interval, so a fifth of a connection's time."""


def sweep(database: Database, settings: Settings, metrics: Metrics) -> None:
    """Delete old idempotency keys and incarnations, end what gone nodes left undone, and compact finished logs.

    Events get their positions, workspaces in which nothing happens are stopped, archived or deleted, and partitions are
    made and dropped.

    Compaction takes up to `COMPACTION_SECONDS`.

    This is for the whole database; if rounds of two workers meet, one of them compacts logs.
    """
    _forget_keys(database, settings.idempotency_ttl_hours)
    global_events.give_positions(database)  # so that a first reader does not wait for those of months
    _forget_incarnations(database)
    _forget_images(database, settings.image_unused_hours)
    _forget_parts(database)
    idle_workspaces.sweep(database, settings, metrics)
    retention.sweep(database, settings, metrics)
    _give_up(database, settings.node_gone_days * DAY_SECONDS)
    with database.begin() as connection:
        compaction.pass_over_short(connection)
    deadline = time.monotonic() + COMPACTION_SECONDS
    while time.monotonic() < deadline:
        with database.begin() as connection:
            if not try_sweep_lock(connection, "compact"):
                return
            step = compaction.compact_one(connection)
        if step is None:
            return
        if step.complete:
            metrics.swept("log_compacted")


def _forget_keys(database: Database, ttl_hours: int) -> None:
    with database.begin() as connection:
        forgotten = idempotency.forget_old(connection, ttl_hours)
    if forgotten:
        log.info("forgot old idempotency keys", keys=forgotten)


def _forget_incarnations(database: Database) -> None:
    with database.begin() as connection:
        forgotten = leases.forget_old(connection) if take_turn(connection, "incarnations", FORGET_SECONDS) else 0
    if forgotten:
        log.info("forgot old incarnations", incarnations=forgotten)


def _forget_images(database: Database, hours: float) -> None:
    with database.begin() as connection:
        due = take_turn(connection, "unused_images", IMAGES_SECONDS)
        forgotten = images.forget_unused(connection, hours) if due else 0
    if forgotten:
        log.info("deleted images that belong to no task", images=forgotten)


def _forget_parts(database: Database) -> None:
    with database.begin() as connection:
        forgotten = parts.forget_old(connection) if take_turn(connection, "transfer_parts", FORGET_SECONDS) else 0
    if forgotten:
        log.info("deleted parts of workspaces that no import has taken", parts=forgotten)


def _give_up(database: Database, silent_seconds: float) -> None:
    with database.begin() as connection:
        due = take_turn(connection, "gone_nodes", FORGET_SECONDS)
        ended = gone.give_up(connection, silent_seconds) if due else 0
    if ended:
        log.warning("gave up what nodes that are gone have not removed", operations=ended)
