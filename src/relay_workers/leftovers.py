"""Processes of runs that were ended while this node was away: the node is back, so they go."""

from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.postgres import events, reaper
from relay_core.postgres.reaper import Leftover
from relay_workers.context import WorkerContext
from relay_workers.hostfs import Tampered
from relay_workers.rundir import remove_runs

log = structlog.get_logger(__name__)


def sweep(context: WorkerContext) -> None:
    """End what is left in any workspace of this node; what cannot be ended now stays for the next tick."""
    for one in _found(context, None):
        try:
            _end(context, one)
            context.metrics.swept("leftovers")
        except RelayError as error:
            log.warning("leftovers of a lost run stay", execution_id=str(one.execution_id), error=str(error))


def end(context: WorkerContext, workspace_id: UUID) -> None:
    """End what is left in one workspace, before anything else runs in it.

    Raises:
        RelayError: the engine could not; see the engine's port.
    """
    for one in _found(context, workspace_id):
        _end(context, one)


def _found(context: WorkerContext, workspace_id: UUID | None) -> list[Leftover]:
    with context.database.connect() as connection:
        return reaper.leftovers(connection, context.claimant.node_id, workspace_id)


def _end(context: WorkerContext, one: Leftover) -> None:
    if one.container_id is not None and one.gid is not None and context.engine.inspect(one.container_id).running:
        context.engine.kill_execution(one.container_id, one.gid, grace_seconds=0)
    _remove_files(context, one)
    with context.database.begin() as connection:
        reaper.forget_leftover(connection, one.execution_id)
        payload = {"execution_id": str(one.execution_id), "node_id": context.claimant.node_id}
        events.append(connection, one.workspace_id, "workspace.leftovers_ended", payload)


def _remove_files(context: WorkerContext, one: Leftover) -> None:
    """The raw log, which is unmasked and which nobody can add to the stored one any more."""
    directory = context.workspace_dir(one.workspace_id)
    if one.elsewhere:
        context.git.remove_workspace(one.workspace_id, directory)
        return
    try:
        remove_runs(directory, str(one.execution_id))
    except (Tampered, OSError) as error:
        log.warning("raw files of a lost run stay", execution_id=str(one.execution_id), error=str(error))
