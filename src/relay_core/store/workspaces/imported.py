"""Workspaces that came from another Relay: their clones, and the bundles with the states to which these are brought."""

from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain import chain
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces.add_step import queue_step, repo_scripts

E, State = ExecutionProcess, ExecutionProcessRepoState


def bring_back(connection: Connection, workspace_id: UUID, principal: Principal) -> UUID | None:
    """Queue the clone of an imported workspace that no node has prepared yet, and the setup scripts after it.

    Steps that are queued afterwards wait for them.

    Args:
        connection: one transaction of `Database`, which holds the lane; the clone's message is sent after its commit.
        workspace_id: a workspace that is not archived any more.
        principal: owner of the clone.

    Returns:
        The clone; None if the workspace was made here, or has been prepared.
    """
    mine = (
        (Workspace.id == workspace_id)
        & Workspace.imported_from.is_not(None)
        & Workspace.node_id.is_(None)
        & (Workspace.state == WorkspaceState.STOPPED)
    )
    begun = update(Workspace).where(mine).values(state=WorkspaceState.STARTING, updated_at=func.now())
    if connection.scalar(begun.returning(Workspace.id)) is None:
        return None
    payload = {"state": WorkspaceState.STARTING, "error_reason": None}
    events.append(connection, workspace_id, EventKind.WORKSPACE_STATE_CHANGED, payload)
    plan = chain.plan_return(repo_scripts(connection, workspace_id))
    execution_id = queue_step(connection, workspace_id, plan, principal)
    send_after_commit(connection, [execution_id])
    return execution_id


def bundle_of(
    connection: Connection, workspace_id: UUID, repo_id: UUID, commit: str
) -> tuple[bytes | None, str | None]:
    """Return the bundle of a recorded commit of a clone, and why there is none.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        repo_id: the repo.
        commit: the pinned commit of a recorded state.
    """
    states = select(State.bundle, State.bundle_problem).join(E, E.id == State.execution_process_id)
    mine = states.where(E.workspace_id == workspace_id, State.repo_id == repo_id, State.pinned_commit == commit)
    row = connection.execute(mine.order_by(State.bundle.is_(None), E.completed_at.desc()).limit(1)).one_or_none()
    if row is None:
        return None, None
    return (None if row.bundle is None else bytes(row.bundle)), row.bundle_problem
