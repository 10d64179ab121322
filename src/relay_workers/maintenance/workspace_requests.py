"""Carries out on this node what was asked of its workspaces: stop the container, or let it run again."""

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.stop_resume import Requested
from relay_workers.execution.context import WorkerContext
from relay_workers.maintenance.presence import each
from relay_workers.ownership.node_lock import alone


def sweep(context: WorkerContext) -> None:
    """All that is due now; what fails is tried again at the next tick."""
    with context.database.connect() as connection:
        due = stop_resume.requested(connection, context.claimant.node_id)
    each(due, lambda wanted: _carry_out(context, wanted))


def _carry_out(context: WorkerContext, wanted: Requested) -> None:
    """One worker of the node at a time, through an engine that hangs and a Postgres that goes away meanwhile."""
    with alone(context.settings.data_dir, f"{wanted.workspace_id}.state") as mine:
        if mine and _is_due(context, wanted):
            _act(context, wanted)


def _is_due(context: WorkerContext, wanted: Requested) -> bool:
    with context.database.connect() as connection:
        return stop_resume.is_due(connection, wanted)


def _act(context: WorkerContext, wanted: Requested) -> None:
    if wanted.state is WorkspaceState.STOPPED:
        context.containers.stop(wanted.container_id)
    elif not _started(context, wanted):
        with context.database.begin() as connection:
            stop_resume.give_up(connection, wanted, "its container was removed outside of Relay")
        return
    with context.database.begin() as connection:
        due = stop_resume.settle(connection, wanted)
    context.dispatcher.dispatch(due)
    context.metrics.swept(f"workspace_{wanted.state}")


def _started(context: WorkerContext, wanted: Requested) -> bool:
    found = context.containers.inspect(wanted.container_id)
    if found.exists and not found.running:
        context.containers.restart(wanted.container_id)
    return found.exists
