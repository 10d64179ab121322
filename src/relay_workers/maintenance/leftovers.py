"""End processes that executions have left on this node: the executions ended while the node or its engine was away.

Until their processes are gone, `lifecycle.claim` lets no execution start in their workspace.
"""

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.events import EventKind
from relay_core.store import events
from relay_core.store.executions import offline_nodes
from relay_core.store.executions.offline_nodes import Leftover
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import ProcessEnder
from relay_workers.host_files.run_dir import remove_runs
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.step_processes import StepProcesses

log = structlog.get_logger(__name__)


def sweep(context: WorkerContext) -> None:
    """End what is left in every workspace of this node; what cannot be ended now stays for the next sweep."""
    with context.database.connect() as connection:
        leftovers = offline_nodes.leftovers(connection, context.claimant.node_id)
    for leftover in leftovers:
        try:
            _end(context, leftover)
            context.metrics.swept("leftovers")
        except RelayError as error:
            log.warning(
                "processes of an ended execution may still run",
                execution_id=str(leftover.execution_id),
                error=str(error),
            )


def _end(context: WorkerContext, leftover: Leftover) -> None:
    processes = StepProcesses.of_leftover(leftover)
    if processes is not None and context.containers.inspect(processes.container_id).running:
        ender = ProcessEnder(context.containers, context.database, context.settings.data_dir)
        ender.end(processes, grace_seconds=0)
    _remove_files(context, leftover)
    with context.database.begin() as connection:
        due = offline_nodes.forget_leftover(connection, leftover)
        payload = {"execution_id": str(leftover.execution_id), "node_id": context.claimant.node_id}
        events.append(connection, leftover.workspace_id, EventKind.WORKSPACE_LEFTOVERS_ENDED, payload)
    context.dispatcher.dispatch(due)


def _remove_files(context: WorkerContext, leftover: Leftover) -> None:
    """Remove the raw log, which is unmasked and cannot be appended to the stored log any more.

    A workspace that is another node's now was never prepared here: all of its files go.
    """
    directory = context.workspace_dir(leftover.workspace_id)
    if leftover.elsewhere:
        context.git.remove_workspace(leftover.workspace_id, directory)
        return
    try:
        remove_runs(directory, str(leftover.execution_id))
    except (TamperedFile, OSError) as error:
        log.warning("raw log files stay on disk", execution_id=str(leftover.execution_id), error=str(error))
