"""The leases of a worker's live executions: all are renewed together, and one is confirmed before irreversible acts."""

from collections.abc import Sequence

import structlog

from relay_core.retry import Backoff, until_available
from relay_core.store.executions.claim import Claimant
from relay_core.store.executions.leases import renew_leases
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


class Leases:
    """The leases of the executions that one worker owns. All methods are thread-safe.

    Args:
        database: used to confirm a single lease.
        renewals: a database client with a connection of its own, so that renewals never wait for other threads.
        claimant: this worker.
        live: the executions whose leases are renewed.
    """

    def __init__(self, database: Database, renewals: Database, claimant: Claimant, live: LiveExecutions) -> None:
        self._database = database
        self._renewals = renewals
        self._claimant = claimant
        self._live = live

    def renew(self) -> None:
        """Renew the leases of all live executions in one statement.

        Executions whose lease is lost or whose kill was requested are notified (`ExecutionControl.let_go`, `ask_kill`).

        Raises:
            SQLAlchemyError: Postgres is away; the leases stay valid until they expire.
        """
        live = self._live.all()
        if live:
            self._renew(self._renewals, live)

    def confirm(self, control: ExecutionControl) -> None:
        """Return once it is certain that this worker owns the execution.

        Within the lease this is immediate; otherwise Postgres is asked, however long it is away. A worker that was
        suspended (SIGSTOP, a suspended host) or cut off from Postgres for longer than its lease may have been replaced.
        It must not touch processes or repositories that another worker owns now.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
        """

        def renew_until_fresh_or_lost() -> None:
            while not control.lost.is_set() and not self._is_fresh(control):
                self._renew(self._database, [control])

        def report(error: Exception, _pause: float) -> None:
            log.warning("the database is away; the execution waits for its lease", error=str(error).splitlines()[0])

        until_available(renew_until_fresh_or_lost, BACKOFF, is_retryable=is_away, report=report, wait=control.lost.wait)
        if control.lost.is_set():
            raise OwnershipLost("the lease of the execution was lost")

    def _is_fresh(self, control: ExecutionControl) -> bool:
        return boottime_seconds() - control.renewed_at < self._claimant.lease_seconds

    def _renew(self, database: Database, live: Sequence[ExecutionControl]) -> None:
        asked_at = boottime_seconds()
        by = self._claimant
        ids = [control.execution_id for control in live]
        leases = database.transact(lambda connection: renew_leases(connection, by.owner, ids, by.lease_seconds))
        renewed = {lease.execution_id: lease for lease in leases}
        for control in live:
            lease = renewed.get(control.execution_id)
            if lease is None or lease.fence != control.fence:
                control.let_go()
                continue
            control.renewed_at = asked_at
            if lease.kill_requested and not control.kill.is_set():
                control.ask_kill()
