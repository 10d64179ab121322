"""Ends what executions have left on this node: they ended while the node or its engine was away.

Until then nothing is claimed in their workspace (`lifecycle.claim`).
"""

import structlog

from relay_core.domain.errors import RelayError
from relay_core.store import events
from relay_core.store.executions import offline_nodes
from relay_core.store.executions.offline_nodes import Leftover
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import Processes, end_processes
from relay_workers.host_files.run_dir import remove_runs
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)


def sweep(context: WorkerContext) -> None:
    """End what is left in any workspace of this node; what cannot be ended now stays for the next tick."""
    with context.database.connect() as connection:
        found = offline_nodes.leftovers(connection, context.claimant.node_id)
    for one in found:
        try:
            _end(context, one)
            context.metrics.swept("leftovers")
        except RelayError as error:
            log.warning("leftovers of a lost run stay", execution_id=str(one.execution_id), error=str(error))


def _end(context: WorkerContext, one: Leftover) -> None:
    processes = Processes.left(one)
    if processes is not None and context.containers.inspect(processes.container_id).running:
        end_processes(context, processes, grace_seconds=0)
    _remove_files(context, one)
    with context.database.begin() as connection:
        due = offline_nodes.forget_leftover(connection, one)
        payload = {"execution_id": str(one.execution_id), "node_id": context.claimant.node_id}
        events.append(connection, one.workspace_id, "workspace.leftovers_ended", payload)
    context.dispatcher.dispatch(due)


def _remove_files(context: WorkerContext, one: Leftover) -> None:
    """The raw log, which is unmasked and which nobody can add to the stored one any more."""
    directory = context.workspace_dir(one.workspace_id)
    if one.elsewhere:
        context.git.remove_workspace(one.workspace_id, directory)
        return
    try:
        remove_runs(directory, str(one.execution_id))
    except (TamperedFile, OSError) as error:
        log.warning("raw files of a lost run stay", execution_id=str(one.execution_id), error=str(error))
