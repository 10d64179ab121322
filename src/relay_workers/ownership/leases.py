"""The lease of this worker: it is renewed for all executions together, and confirmed before irreversible acts."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog

from relay_core.retry import Backoff, until_available
from relay_core.store.executions import leases
from relay_core.store.executions.claim import Claimant
from relay_core.store.executions.leases import Renewal
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_workers.ownership.live_executions import (
    ExecutionControl,
    LiveExecutions,
    OwnershipLost,
    boottime_seconds,
)

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first_seconds=0.2, last_seconds=5.0)
TURN_SECONDS = 4.0
"""Time between two turns of a sweep that one worker does for all nodes.

It is shorter than the usual interval of renewals, whose answers tell of turns: a worker that is alone sweeps at each.
"""


@dataclass(frozen=True)
class _Granted:
    """A renewal of the lease, and what it means for the live executions."""

    renewal: Renewal
    owned: dict[UUID, int] = field(default_factory=dict)
    """Fences of the doubtful executions that still belong to this worker."""


class Leases:
    """The lease of one worker. All methods are thread-safe.

    Args:
        database: used to confirm the lease from the thread of an execution.
        renewals: a database client with a connection of its own, so that renewals never wait for other threads.
        claimant: this worker.
        live: the executions of this worker.

    Attributes:
        told: called with the answer of each regular renewal; from it the sweeps learn whose turn is over.
    """

    def __init__(self, database: Database, renewals: Database, claimant: Claimant, live: LiveExecutions) -> None:
        self._database = database
        self._renewals = renewals
        self._claimant = claimant
        self._live = live
        self.told: Callable[[Renewal], None] = lambda _: None
        self._lock = threading.Lock()
        self._renewed_at = float("-inf")
        self._taken_at: datetime | None = None

    @property
    def age_seconds(self) -> float:
        """Seconds since the last successful renewal was requested; infinite before the first one."""
        return boottime_seconds() - self._renewed_at

    def renew(self) -> None:
        """Renew the lease, which writes one row.

        Executions that another worker has taken or whose kill was requested are notified (`ExecutionControl.let_go`,
        `ask_kill`). A worker that shuts down and has left all executions renews nothing.

        Raises:
            SQLAlchemyError: Postgres is away; the lease stays valid until it expires.
        """
        if not self._live.finished:
            self.told(self._renew(self._renewals, self._live.all()))

    def confirm(self, control: ExecutionControl) -> None:
        """Return once it is certain that this worker owns the execution.

        Within the lease this is immediate; otherwise Postgres is asked, however long it is away. A worker that was
        suspended (SIGSTOP, a suspended host) or cut off from Postgres for longer than its lease may have been replaced.
        It must not touch processes or repositories that another worker owns now.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
        """

        def renew_until_fresh_or_lost() -> None:
            while not control.lost.is_set() and not self._is_certain(control):
                self._renew(self._database, [control])

        def report(error: Exception, _pause: float) -> None:
            log.warning("the database is away; the execution waits for its lease", error=str(error).splitlines()[0])

        until_available(renew_until_fresh_or_lost, BACKOFF, is_retryable=is_away, report=report, wait=control.lost.wait)
        if control.lost.is_set():
            raise OwnershipLost("the lease of the execution was lost")

    def _is_certain(self, control: ExecutionControl) -> bool:
        with self._lock:
            return self.age_seconds < self._claimant.lease_seconds and control.taken_at == self._taken_at

    def _renew(self, database: Database, live: Sequence[ExecutionControl]) -> Renewal:
        asked_at = boottime_seconds()
        by = self._claimant

        with database.single_statements() as connection:
            renewal = leases.renew_alone(connection, by.owner, by.node_id, by.lease_seconds, turn_seconds=TURN_SECONDS)
            doubtful = [control.execution_id for control in live if control.taken_at != renewal.taken_at]
            owned = leases.still_owned(connection, by.owner, doubtful) if doubtful else {}
        granted = _Granted(renewal, owned)
        for control in live:
            _tell(control, granted)
        with self._lock:
            if asked_at > self._renewed_at:
                self._renewed_at, self._taken_at = asked_at, granted.renewal.taken_at
        return granted.renewal


def _tell(control: ExecutionControl, granted: _Granted) -> None:
    """Tell an execution what a renewal means for it: it is lost, owned with certainty, or to be killed."""
    taken_at = granted.renewal.taken_at
    if control.taken_at != taken_at:
        if granted.owned.get(control.execution_id) != control.fence:
            control.let_go()
            return
        control.taken_at = taken_at
    if control.execution_id in granted.renewal.killed and not control.kill.is_set():
        control.ask_kill()
