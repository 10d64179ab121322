"""This node's heartbeat, and the sweep that draws the consequences of other nodes' silence."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, TypeVar

import structlog

from relay_core import __version__
from relay_core.domain.errors import Stale
from relay_core.domain.nodes import presence
from relay_core.store.executions import offline_nodes
from relay_core.store.executions.offline_nodes import Lost
from relay_core.store.nodes import registry
from relay_core.store.nodes.registry import Change
from relay_workers.containers.port import EngineUnavailable
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.step_log import stored_ends
from relay_workers.ownership.node_identity import default_concurrency

log = structlog.get_logger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 60.0
"""Between two looks at the engine for what it is and has."""
REAPER_LEASE_SECONDS = 300.0
"""For reading what is stored of a lost run's log, which may be gibibytes."""


class Pulse:
    """What the node says of itself. Beating waits for Postgres only: a slow engine must not make a node seem dead."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._capabilities: dict[str, Any] | None = None
        self._engine_answers = True

    def look(self) -> None:
        """Ask the engine; the next beat tells."""
        settings = self._context.settings
        try:
            containers = asdict(self._context.containers.info())
        except EngineUnavailable as error:
            self._engine_answers = False
            log.warning("the container engine does not answer", error=str(error))
            return
        self._engine_answers = True
        self._capabilities = {
            "engine_version": containers.pop("version"),
            **containers,
            "slots_per_worker": settings.worker_concurrency or default_concurrency(),
            "default_image": settings.default_image,
            "git_image": settings.git_image,
        }

    def beat(self) -> None:
        """Say that the node lives, and how it is."""
        settings, by = self._context.settings, self._context.claimant
        with self._context.database.begin() as connection:
            health = presence.health(
                engine_answers=self._engine_answers,
                draining=registry.is_draining(connection, by.node_id),
                free_bytes=shutil.disk_usage(settings.data_dir).free,
                min_free_bytes=settings.node_min_free_bytes,
            )
            registry.heartbeat(
                connection,
                by.node_id,
                pool=by.pool,
                client_version=__version__,
                capabilities=self._capabilities,
                health=health,
            )


def sweep(context: WorkerContext) -> None:
    """Lower the liveness of silent nodes."""
    with context.database.begin() as connection:
        changes = registry.sweep(connection, context.settings.presence)
    each(changes, lambda change: _tell(context, change))


def reap(context: WorkerContext) -> None:
    """End the runs of nodes that are offline. It reads their whole logs, so it has a clock of its own."""
    with context.database.connect() as connection:
        gone = offline_nodes.lost_nodes(connection, context.settings.presence)
    each(gone, lambda node_id: _reap(context, node_id))


def each(items: Iterable[T], act: Callable[[T], None]) -> None:
    """Act on each; one that breaks does not keep the others from their turn."""
    for item in items:
        try:
            act(item)
        except Stale as error:
            log.info("left to others", item=str(item), why=str(error))
        except Exception:
            log.exception("a part of a sweep broke", item=str(item))


def _tell(context: WorkerContext, change: Change) -> None:
    context.metrics.swept(f"node_{change.after}")
    log.warning("a node is silent", node=change.node_id, before=change.before, after=change.after)


def _reap(context: WorkerContext, node_id: str) -> None:
    with context.database.begin() as connection:
        owner, bounds = context.claimant.owner, context.settings.presence
        lost = offline_nodes.take_over(connection, node_id, owner, REAPER_LEASE_SECONDS, bounds)
    each(lost, lambda run: _end(context, run))


def _end(context: WorkerContext, lost: Lost) -> None:
    ends = stored_ends(context.logs, lost.execution_id)
    with context.database.begin() as connection:
        due = offline_nodes.end(connection, lost, ends)
    context.live_logs.end(lost.execution_id)
    context.dispatcher.dispatch(due)
    context.metrics.swept("lost_run")
    log.warning("a run of a lost node was ended", execution_id=str(lost.execution_id), node=lost.node_id)
