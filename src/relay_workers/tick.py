"""The worker's own clock: leases on one thread, sweeps on another; no beat, no leader."""

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import text

from relay_core.postgres import executions, idempotency
from relay_core.postgres.outage import is_away
from relay_workers import presence, stopping
from relay_workers.capacity import read_load
from relay_workers.context import WorkerContext

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
STOP_SECONDS = 5.0
RING_AGAIN_SECONDS = 15.0
"""A queued row whose message is older than this is rung again; the claim makes an extra message a no-op."""


class Ticker:
    """Calls a function again and again on a thread of its own until stopped; an unreachable database is waited out."""

    def __init__(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self.name = name
        self.seconds = seconds
        self._ran_through = time.monotonic()
        self._act = act
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """The first call happens at once."""
        self._thread.start()

    def stop(self) -> None:
        """No call begins after this has returned; one that is under way has a moment to end."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    @property
    def age_seconds(self) -> float:
        """Since a call last ran through without an error."""
        return time.monotonic() - self._ran_through

    def _loop(self) -> None:
        while True:
            try:
                self._act()
                self._ran_through = time.monotonic()
            except Exception as error:  # a tick that breaks must not end all ticks
                if is_away(error):
                    log.warning("the database is away", thread=self._thread.name, error=str(error).splitlines()[0])
                else:
                    log.exception("a tick broke", thread=self._thread.name)
            if self._stopped.wait(self.seconds):
                return


def sweep(context: WorkerContext) -> None:
    """What any worker may do for all (one at a time), then what concerns this node."""
    with context.database.begin() as connection:
        mine = connection.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('relay.sweep.ring'))"))
        due = executions.unrung(connection, RING_AGAIN_SECONDS) if mine else []
        if mine:
            idempotency.forget_old(connection, context.settings.idempotency_ttl_hours)
        load = read_load(connection, context.claimant.node_id, context.settings)
    context.admission.update(load)
    context.metrics.swept("rung_again", context.doorbell.ring_again(due))
    presence.sweep(context)
    stopping.sweep(context)
