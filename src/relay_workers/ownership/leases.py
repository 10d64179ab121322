"""The leases of what this worker runs: renewed together, and asked for singly before what cannot be undone."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine

from relay_core.retry import Backoff, until_available
from relay_core.store.executions import transitions
from relay_core.store.outage import is_away
from relay_core.store.transaction import transact
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.outcome import LetGo
from relay_workers.ownership.live_executions import Control, awake_and_asleep

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first_seconds=0.2, last_seconds=5.0)


def renew(context: WorkerContext) -> None:
    """Prolong what this process runs in one statement; the answer says what was lost and what is to be killed."""
    live = context.live.all()
    if live:
        _renew(context, context.lease_database, live)


def confirm(context: WorkerContext, control: Control) -> None:
    """Return when the run is surely still ours: at once within its lease, else after asking Postgres.

    A worker that slept (SIGSTOP, a suspended host) or was cut off from Postgres for longer than its lease may have
    been taken for dead; it must not touch a process or a repository that is another's by now.

    Raises:
        LetGo: it is not ours any more.
    """

    def renew_until_fresh_or_lost() -> None:
        while not control.lost.is_set() and not _is_fresh(context, control):
            _renew(context, context.database, [control])

    def report(error: Exception, _pause: float) -> None:
        log.warning("the database is away; the run waits for its lease", error=str(error).splitlines()[0])

    until_available(renew_until_fresh_or_lost, BACKOFF, is_retryable=is_away, report=report, wait=control.lost.wait)
    if control.lost.is_set():
        raise LetGo("its lease was lost")


def _is_fresh(context: WorkerContext, control: Control) -> bool:
    return awake_and_asleep() - control.renewed_at < context.settings.lease_seconds


def _renew(context: WorkerContext, database: Engine, live: Sequence[Control]) -> None:
    asked_at = awake_and_asleep()
    by = context.claimant
    ids = [control.execution_id for control in live]
    leases = transact(
        database, lambda connection: transitions.renew_leases(connection, by.owner, ids, by.lease_seconds)
    )
    held = {lease.execution_id: lease for lease in leases}
    for control in live:
        lease = held.get(control.execution_id)
        if lease is None or lease.fence != control.fence:
            control.let_go()
            continue
        control.renewed_at = asked_at
        if lease.kill_requested and not control.kill.is_set():
            control.ask_kill()
