"""The worker's own clocks, each on a thread of its own; no beat, no leader.

A clock waits for one thing at most: what needs Postgres only never waits for the engine or for Redis.
"""

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Connection, text

from relay_core.store.executions import transitions
from relay_core.store.nodes import admission
from relay_core.store.outage import is_away
from relay_workers.execution.context import WorkerContext
from relay_workers.maintenance import leftovers, presence, workspace_requests
from relay_workers.ownership.admission import why_disk_full

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
STOP_SECONDS = 5.0
DISPATCH_AGAIN_SECONDS = 15.0
"""A queued row whose message is older than this is rung again; the claim makes an extra message a no-op."""


class Ticker:
    """Calls a function again and again on a thread of its own until stopped; an unreachable database is waited out."""

    def __init__(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self.name = name
        self.seconds = seconds
        self._ran_through = time.monotonic()
        self._act = act
        self._stopped = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """The first call happens at once."""
        self._thread.start()

    def stop(self) -> None:
        """No call begins after this has returned; one that is under way has a moment to end."""
        self._stopped = True
        self._woken.set()
        self._thread.join(STOP_SECONDS)

    def soon(self) -> None:
        """Have the next call begin now, or right after the one that is under way."""
        self._woken.set()

    @property
    def age_seconds(self) -> float:
        """Since a call last ran through without an error."""
        return time.monotonic() - self._ran_through

    def _loop(self) -> None:
        while not self._stopped:
            self._woken.clear()
            try:
                self._act()
                self._ran_through = time.monotonic()
            except Exception as error:  # a tick that breaks must not end all ticks
                if is_away(error):
                    log.warning("the database is away", thread=self._thread.name, error=str(error).splitlines()[0])
                else:
                    log.exception("a tick broke", thread=self._thread.name)
            self._woken.wait(self.seconds)


def sweep(context: WorkerContext) -> None:
    """What any worker may do for all, by Postgres alone."""
    presence.sweep(context)


def admit(context: WorkerContext) -> None:
    """Open or close the pool's queue, as this node has room or not."""
    with context.database.begin() as connection:
        full = admission.why_closed(connection, context.claimant.node_id)
    context.dispatcher.dispatch(context.admission.follow(full or why_disk_full(context.settings)))


def dispatch_again(context: WorkerContext) -> None:
    """Send messages again that seem to be lost; one worker at a time looks for them."""
    with context.database.begin() as connection:
        due = transitions.undispatched(connection, DISPATCH_AGAIN_SECONDS) if _alone(connection, "messages") else []
    if due:
        context.metrics.swept("rung_again", context.dispatcher.dispatch_again(due))


def carry_out(context: WorkerContext) -> None:
    """What this node's engine has to do: stops and resumes, and the end of what lost runs left."""
    workspace_requests.sweep(context)
    leftovers.sweep(context)


def _alone(connection: Connection, sweep: str) -> bool:
    lock = text("SELECT pg_try_advisory_xact_lock(hashtext(:name))")
    return bool(connection.scalar(lock, {"name": f"relay.sweep.{sweep}"}))
