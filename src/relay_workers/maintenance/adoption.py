"""Finding the runs of workers that are gone, and seeing to it that they are somebody's again."""

import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog

from relay_core.store.executions import takeover
from relay_core.store.executions.takeover import Held
from relay_workers.execution.context import WorkerContext
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)

CELERY_SECONDS = 4.0
"""For a rung message to become an adoption. After that the queue is away or all slots are taken: go without it."""


class Adoption:
    """The sweep of one worker.

    An orphan is rung on the node's queue first: the worker that takes the message adopts it, and Flower shows the same
    task going on. One that nobody took is adopted beside the slots: a lost run must not wait for a free one.

    Args:
        context: of this worker.
        adopt: `Runner.adopt`; returns at once.
    """

    def __init__(self, context: WorkerContext, adopt: Callable[[UUID, int], None]) -> None:
        self._context = context
        self._adopt = adopt
        self._dispatched: dict[UUID, float] = {}

    def sweep(self) -> None:
        """One look at this node's running executions.

        One that this very worker left, because Postgres was away when it was needed, is an orphan, too: any other
        worker would have to wait for the end of its lease.
        """
        with self._context.database.begin() as connection:
            held = takeover.held(connection, self._context.claimant)
        own = self._context.claimant.owner
        left = [one for one in held if one.owner == own and self._context.live.is_left(one.message.execution_id)]
        others = [one for one in held if one.owner != own]
        orphans = [*left, *takeover.orphans(others, partial(is_dead, self._context.settings.data_dir))]
        now = time.monotonic()
        self._dispatched = {
            one.message.execution_id: self._dispatched.get(one.message.execution_id, now) for one in orphans
        }
        new = [one for one in orphans if self._dispatched[one.message.execution_id] == now]
        overdue = [one for one in orphans if now - self._dispatched[one.message.execution_id] >= CELERY_SECONDS]
        self._dispatch(new)
        for one in overdue:
            log.warning("nobody took an orphan from the queue", execution_id=str(one.message.execution_id))
            if one.expired:
                self._end_sessions(one.owner)
            self._adopt(one.message.execution_id, one.message.attempt)

    def _end_sessions(self, owner: str) -> None:
        with self._context.database.begin() as connection:
            ended = takeover.end_sessions(connection, owner, self._context.claimant.lease_seconds)
        if ended:
            log.warning("ended transactions of a worker that lost its lease", owner=owner, transactions=ended)

    def _dispatch(self, new: list[Held]) -> None:
        for one in new:
            log.info(
                "found an orphan", execution_id=str(one.message.execution_id), owner=one.owner, expired=one.expired
            )
            self._context.metrics.swept("orphan")
        self._context.dispatcher.dispatch(one.message for one in new)
