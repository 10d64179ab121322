"""The worker's own clock: leases on one thread, sweeps on another; no beat, no leader."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.postgres import events, executions, idempotency, workspaces
from relay_core.postgres.tables import ExecutionProcess, Workspace
from relay_workers import presence, stopping
from relay_workers.capacity import read_load
from relay_workers.context import WorkerContext

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
RING_AGAIN_SECONDS = 15.0
"""A queued row whose message is older than this is rung again; the claim makes an extra message a no-op."""


class Ticker:
    """Calls a function again and again on a thread of its own until stopped; an unreachable database is waited out."""

    def __init__(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self._seconds = seconds
        self._act = act
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """The first call happens at once."""
        self._thread.start()

    def stop(self) -> None:
        """No call begins after this has returned."""
        self._stopped.set()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            try:
                self._act()
            except OperationalError as error:
                log.warning("the database is away", thread=self._thread.name, error=str(error).splitlines()[0])
            except Exception:  # a tick that breaks must not end all ticks
                log.exception("a tick broke", thread=self._thread.name)
            if self._stopped.wait(self._seconds):
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
    context.doorbell.ring(due)
    presence.sweep(context)
    stopping.sweep(context)
    remove_deleted(context)


def remove_deleted(context: WorkerContext) -> None:
    """Containers, clones and stores of deleted workspaces on this node, once nothing runs in them."""
    running = (
        select(ExecutionProcess.id)
        .where(ExecutionProcess.workspace_id == Workspace.id, ExecutionProcess.status.in_(["queued", "running"]))
        .exists()
    )
    with context.database.connect() as connection:
        rows = connection.execute(
            select(Workspace.id, Workspace.container_id).where(
                Workspace.node_id == context.claimant.node_id,
                Workspace.deleted_at.is_not(None),
                Workspace.container_ref.is_not(None),
                ~running,
            )
        ).all()
    for row in rows:
        if row.container_id is not None:
            context.engine.remove(row.container_id)
        context.git.remove_workspace(row.id, context.workspace_dir(row.id))
        with context.database.begin() as connection:
            workspaces.set_fields(connection, row.id, container_ref=None, container_id=None, work_dir=None)
            workspaces.set_state(connection, row.id, WorkspaceState.STOPPED)
            events.append(connection, row.id, "workspace.removed", {"node_id": context.claimant.node_id})
