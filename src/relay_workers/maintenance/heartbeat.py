"""The heartbeat of this node: reports that the node lives, its health, and the capabilities of its container engine."""

import shutil
from dataclasses import asdict
from typing import Any

import structlog

from relay_core import __version__
from relay_core.domain import nodes
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from relay_workers.containers.port import Containers, EngineUnavailable
from relay_workers.host_files.bounded_look import BoundedLook
from relay_workers.ownership.node_identity import default_concurrency, living_workers

log = structlog.get_logger(__name__)

CAPABILITIES_SECONDS = 60.0
"""Interval at which the container engine is asked for its version and resources."""


class Heartbeat:
    """Writes the heartbeat of a node.

    Two clocks call `beat` and `ask_engine`: a heartbeat waits for Postgres, and for a moment at most for the disk of
    the data directory. So neither a slow engine nor a disk that hangs makes the node look dead.

    Args:
        settings: data directory, images and number of slots.
        claimant: this worker; its node and pool are written.
        database: stores the heartbeat.
        containers: the container engine of the node.
    """

    def __init__(self, settings: Settings, claimant: Claimant, database: Database, containers: Containers) -> None:
        self._settings = settings
        self._claimant = claimant
        self._database = database
        self._containers = containers
        self._capabilities: dict[str, Any] | None = None
        self._engine_answers = True
        self._revoked = False
        self._data_dir = BoundedLook("data-dir", self._look)

    def _look(self) -> tuple[int, list[str]]:
        """Return the free bytes of the data directory, and the names of the workers that live."""
        data_dir = self._settings.data_dir
        return shutil.disk_usage(data_dir).free, living_workers(data_dir, self._claimant.node_id)

    def ask_engine(self) -> None:
        """Ask the container engine for its version and resources. The next heartbeat writes the answer."""
        settings = self._settings
        try:
            engine = asdict(self._containers.info())
        except EngineUnavailable as error:
            self._engine_answers = False
            log.warning("the container engine does not answer", error=str(error))
            return
        self._engine_answers = True
        self._capabilities = {
            "engine_version": engine.pop("version"),
            **engine,
            "slots_per_worker": settings.worker_concurrency or default_concurrency(),
            "default_image": settings.default_image,
            "git_image": settings.git_image,
        }

    def beat(self) -> None:
        """Write to Postgres that the node lives, its health, its workers, and what its engine reported last."""
        settings, node_id = self._settings, self._claimant.node_id
        seen = self._data_dir.look()
        free, workers = seen.value or (None, None)
        known = self._capabilities
        if known is not None:
            known = {**known, **({"data_dir_problem": seen.problem} if workers is None else {"workers": workers})}
        health = nodes.health(
            engine_answers=self._engine_answers, free_bytes=free, min_free_bytes=settings.node_min_free_bytes
        )
        with self._database.single_statements() as connection:
            closed = runtime_nodes.heartbeat(
                connection,
                node_id,
                pool=self._claimant.pool,
                client_version=__version__,
                capabilities=known,
                health=health,
            )
        self._tell_revoked(revoked=closed == "revoked")

    def _tell_revoked(self, *, revoked: bool) -> None:
        """Log that the node is revoked, or is so no longer, once for each change."""
        if revoked and not self._revoked:
            log.error(
                "this node is revoked: its workers start no step and take none over; "
                "restore it with `relay revoke NODE --undo`, or stop its workers",
                node=self._claimant.node_id,
            )
        elif self._revoked and not revoked:
            log.info("this node is restored: its workers take work again", node=self._claimant.node_id)
        self._revoked = revoked
