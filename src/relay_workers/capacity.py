"""Whether this node takes new workspaces: a pure decision, and the switch on the pool's queue that follows it."""

import shutil
from dataclasses import dataclass
from typing import Any

import psutil
import structlog
from celery import Celery
from sqlalchemy import BigInteger, Connection, cast, exists, func, select

from relay_core.domain.doorbell import pool_queue
from relay_core.domain.vocabulary import Status
from relay_core.postgres.tables import ExecutionProcess, RuntimeNode, Workspace
from relay_core.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Load:
    """What a node carries."""

    workspaces: int
    """Those in which something runs."""
    memory_bytes: int
    """Sum of their memory limits."""
    free_bytes: int
    """Of the disk that holds the data directory."""
    draining: bool


def why_full(load: Load, settings: Settings, host_memory_bytes: int) -> str | None:
    """Why no new workspace fits, or None where one does."""
    if load.draining:
        return "draining"
    if load.workspaces >= settings.node_max_workspaces:
        return f"{load.workspaces} workspaces, RELAY_NODE_MAX_WORKSPACES is {settings.node_max_workspaces}"
    memory = settings.node_memory_bytes or host_memory_bytes
    if load.memory_bytes >= memory:
        return f"memory limits of workspaces add up to {load.memory_bytes} of {memory} bytes"
    if load.free_bytes < settings.node_min_free_bytes:
        return f"{load.free_bytes} bytes free, RELAY_NODE_MIN_FREE_BYTES is {settings.node_min_free_bytes}"
    return None


def read_load(connection: Connection, node_id: str, settings: Settings) -> Load:
    """The present load of a node."""
    memory = cast(Workspace.limits["memory_bytes"].as_string(), BigInteger)
    busy = exists().where(ExecutionProcess.workspace_id == Workspace.id, ExecutionProcess.status == Status.RUNNING)
    here = (Workspace.node_id == node_id) & busy  # an idle container holds next to nothing
    count, total = connection.execute(select(func.count(), func.coalesce(func.sum(memory), 0)).where(here)).one()
    draining = connection.scalar(select(RuntimeNode.draining).where(RuntimeNode.node_id == node_id))
    return Load(count, int(total), shutil.disk_usage(settings.data_dir).free, bool(draining))


class Admission:
    """Stops consuming the pool's queue while the node is full; its own queue is served all the time."""

    def __init__(self, app: Celery, settings: Settings, worker: str) -> None:
        self._app: Any = app
        self._settings = settings
        self._worker = worker
        self._full: str | None = None

    @property
    def full(self) -> str | None:
        """Why the node takes no new workspace at present."""
        return self._full

    def update(self, load: Load) -> None:
        """Follow the load; idempotent, a lost switch is repeated with the next change."""
        full = why_full(load, self._settings, psutil.virtual_memory().total)
        if (full is None) != (self._full is None):
            log.info("the node takes new workspaces" if full is None else "the node is full", why=full)
            switch = self._app.control.add_consumer if full is None else self._app.control.cancel_consumer
            switch(pool_queue(self._settings.pool), destination=[self._worker])
        self._full = full
