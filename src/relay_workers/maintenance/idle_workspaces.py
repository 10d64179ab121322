"""Stops workspaces in which nothing happens."""

from functools import partial
from uuid import UUID

import structlog

from relay_core.settings import Settings
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.transaction import Database
from relay_core.store.workspaces import idle
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
"""Time between two looks for idle workspaces."""
HOUR_SECONDS = 3600.0


def sweep(database: Database, settings: Settings, metrics: Metrics) -> None:
    """Request a stop of each workspace of the fleet that has been idle for long; its node carries it out.

    One worker at a time looks, once a minute.
    """
    if settings.workspace_idle_stop_hours is None:
        return
    seconds = settings.workspace_idle_stop_hours * HOUR_SECONDS
    with database.begin() as connection:
        if not take_turn(connection, "idle_workspaces", LOOK_SECONDS):
            return
        found = idle.idle(connection, seconds)
    act_on_each(found, partial(_stop, database, metrics, seconds))


def _stop(database: Database, metrics: Metrics, seconds: float, workspace_id: UUID) -> None:
    with database.begin() as connection:
        stopped = idle.stop(connection, workspace_id, seconds)
    if stopped:
        metrics.swept("workspace_idle")
        log.info("a workspace is idle and is stopped", workspace_id=str(workspace_id))
