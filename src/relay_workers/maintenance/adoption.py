"""Finds executions whose worker is gone ("orphans"), so that another worker of the node takes them over ("adopts")."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions import adopt
from relay_core.store.executions.adopt import HeldExecution
from relay_core.store.executions.claim import Claimant
from relay_core.store.transaction import Database
from relay_workers.metrics import Metrics
from relay_workers.ownership.live_executions import LiveExecutions
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)

MESSAGE_SECONDS = 4.0
"""How long a message may take to lead to an adoption.

After it, this worker adopts the execution: the broker may be away.
"""


class OrphanFinder:
    """Finds running executions of this node whose owner is dead or has let its lease expire.

    Args:
        database: stores the executions.
        claimant: this worker.
        data_dir: the node's data directory; its lock files show which workers of this node are alive.
    """

    def __init__(self, database: Database, claimant: Claimant, data_dir: Path) -> None:
        self._database = database
        self._claimant = claimant
        self._data_dir = data_dir

    def find(self, is_left: Callable[[UUID], bool] = lambda _: False) -> list[HeldExecution]:
        """Return the orphaned executions of this node.

        Args:
            is_left: returns whether this worker has stopped working on an execution that it still owns; such an
                execution is an orphan too.
        """
        with self._database.begin() as connection:
            running = adopt.held_executions(connection, self._claimant)
        own = [execution for execution in running if execution.owner == self._claimant.owner]
        of_others = [execution for execution in running if execution.owner != self._claimant.owner]
        left = [execution for execution in own if is_left(execution.message.execution_id)]
        return [*left, *adopt.orphans(of_others, partial(is_dead, self._data_dir))]

    def end_transactions(self, owner: str) -> None:
        """Terminate the database transactions of a worker that has lost its lease: their locks would block an adoption.

        Args:
            owner: the worker that lost its lease.
        """
        with self._database.begin() as connection:
            ended = adopt.end_sessions(connection, owner, self._claimant.lease_seconds)
        if ended:
            log.warning("ended transactions of a worker that lost its lease", owner=owner, transactions=ended)


class Adoption:
    """The adoption sweep of one worker.

    It first sends a message for each orphaned execution to the node's queue: the worker that takes the message adopts
    the execution, and Flower shows the same task going on. If no worker has adopted the execution after
    `MESSAGE_SECONDS`, this worker adopts it on an extra thread, because an adoption must not wait for a free Celery
    slot.

    Args:
        orphans: finds orphaned executions.
        live: the executions of this worker. One that this worker has stopped working on is an orphan too; any other
            worker would have to wait until its lease expires.
        dispatcher: sends messages.
        metrics: counts orphans.
        adopt: `DetachedTasks.adopt`: adopts an execution on an extra thread and returns at once.
    """

    def __init__(
        self,
        orphans: OrphanFinder,
        live: LiveExecutions,
        dispatcher: Dispatcher,
        metrics: Metrics,
        adopt: Callable[[UUID, int], None],
    ) -> None:
        self._orphans = orphans
        self._live = live
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._adopt = adopt
        self._found_at: dict[UUID, float] = {}

    def sweep(self) -> None:
        """Find orphaned executions, send messages for new ones, and adopt those that no worker has taken in time."""
        orphans = self._orphans.find(self._live.is_left)
        now = time.monotonic()
        self._found_at = {
            orphan.message.execution_id: self._found_at.get(orphan.message.execution_id, now) for orphan in orphans
        }
        self._send(orphan for orphan in orphans if self._found_at[orphan.message.execution_id] == now)
        for orphan in orphans:
            if now - self._found_at[orphan.message.execution_id] >= MESSAGE_SECONDS:
                self._take(orphan)

    def _send(self, orphans: Iterable[HeldExecution]) -> None:
        messages = []
        for orphan in orphans:
            log.info(
                "found an orphaned execution",
                execution_id=str(orphan.message.execution_id),
                owner=orphan.owner,
                lease_expired=orphan.expired,
            )
            self._metrics.swept("orphan")
            messages.append(orphan.message)
        self._dispatcher.dispatch(messages)

    def _take(self, orphan: HeldExecution) -> None:
        log.warning("no worker took an orphaned execution", execution_id=str(orphan.message.execution_id))
        if orphan.expired:
            self._orphans.end_transactions(orphan.owner)
        self._adopt(orphan.message.execution_id, orphan.message.attempt)
