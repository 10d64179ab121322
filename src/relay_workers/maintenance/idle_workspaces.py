"""Stops and archives workspaces in which nothing happens, and deletes those of which no node has files.

Those of which a node has files are deleted by the node, which keeps their work first (`expired_workspaces`).
"""

from functools import partial

import structlog

from relay_core.domain.expiry import ExpiryAct, Hours
from relay_core.settings import Settings
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.transaction import Database
from relay_core.store.workspaces import expiry
from relay_core.store.workspaces.expiry import Due
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0
"""Time between two looks for idle workspaces."""
COUNTED = {
    ExpiryAct.STOP: "workspace_idle",
    ExpiryAct.ARCHIVE: "workspace_archived",
    ExpiryAct.DELETE: "workspace_expired",
}
"""Name of each act in the metric of sweeps."""


def sweep(database: Database, settings: Settings, metrics: Metrics) -> None:
    """Do the next act on each workspace of the fleet that has been idle for long; its node carries it out.

    One worker at a time looks, once a minute, and acts on `expiry.MOST_AT_ONCE` workspaces at most.
    """
    hours = expiry.hours_of(settings)
    with database.begin() as connection:
        if not take_turn(connection, "idle_workspaces", LOOK_SECONDS):
            return
        found = expiry.due(connection, hours)
    act_on_each(found, partial(_act, database, metrics, hours))


def _act(database: Database, metrics: Metrics, hours: Hours, due: Due) -> None:
    with database.begin() as connection:
        done = expiry.carry_out(connection, due, hours)
    if done:
        act = due.planned.act
        metrics.swept(COUNTED[act])
        log.info("nothing happens in a workspace", act=act, workspace_id=str(due.workspace_id))
