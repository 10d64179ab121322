"""What keeps the database small: any worker does it for all, one at a time, a little in each round."""

import os
import signal
import time

import structlog
from sqlalchemy import text

from relay_core.store import idempotency
from relay_core.store.logs import compaction
from relay_workers.execution.context import WorkerContext

log = structlog.get_logger(__name__)

SECONDS = 5.0
BUSY_SECONDS = 1.0
"""Most of a round that is spent on compacting, so that it takes no more than a fifth of a connection."""


def sweep(context: WorkerContext) -> None:
    """One round: forget old idempotency keys, compact finished logs."""
    _forget_keys(context)
    ends = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < ends:
        with context.database.begin() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('relay.sweep.compact'))")):
                return
            step = compaction.compact_one(connection)
        if step is None:
            return
        if step.complete:
            context.metrics.swept("log_compacted")


def end_without_pump(context: WorkerContext) -> None:
    """End this worker when its log pump is dead: it is started anew, and its next life adopts its runs."""
    if context.pump.is_dead:
        log.critical("the log pump is dead; this worker ends, so that another one takes its runs")
        os.kill(os.getpid(), signal.SIGTERM)


def _forget_keys(context: WorkerContext) -> None:
    with context.database.begin() as connection:
        forgotten = idempotency.forget_old(connection, context.settings.idempotency_ttl_hours)
    if forgotten:
        log.info("old idempotency keys were forgotten", keys=forgotten)
