"""Writes of a node about a workspace that it prepares: columns, uid, state, clones and git mirrors."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import CloneState, Status, WorkspaceState
from relay_core.store import events, operations
from relay_core.store.projects import state as project_state
from relay_core.store.schema.tables import ExecutionProcess, Mirror, Task, Workspace, WorkspaceRepo
from relay_core.store.workspaces.removal import end_deletion
from relay_core.store.workspaces.workspace_row import WorkspaceRow


def set_fields(connection: Connection, workspace_id: UUID, **fields: Any) -> None:
    """Write columns of a workspace, such as its container, image digest or directory."""
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(**fields, updated_at=func.now()))


def reserve_uid(
    connection: Connection, workspace_id: UUID, node_id: str, choose: Callable[[set[int]], int | None]
) -> int | None:
    """Choose and store the user id of a workspace's files; a workspace that has one keeps it.

    Two workspaces of a node never get the same uid: an advisory lock lets one transaction of the node choose at a time.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        node_id: its node.
        choose: gets the uids of the node's other workspaces that have files there, and returns a free uid, or None.

    Returns:
        The uid, or None if ``choose`` found none.
    """
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('relay.uid', 0) # hashtextextended(:node, 0))")
    connection.execute(lock, {"node": node_id})
    known = connection.scalar(select(Workspace.uid).where(Workspace.id == workspace_id))
    if known is not None:
        return known
    here = (Workspace.node_id == node_id) & Workspace.uid.is_not(None) & Workspace.container_ref.is_not(None)
    uid = choose({taken for taken in connection.scalars(select(Workspace.uid).where(here)) if taken is not None})
    if uid is not None:
        set_fields(connection, workspace_id, uid=uid)
    return uid


def set_state(
    connection: Connection,
    workspace_id: UUID,
    state: WorkspaceState,
    error: str | None = None,
    *,
    operation_id: UUID | None = None,
) -> None:
    """Write the state and error of a workspace, and append an event. Nothing is written if it has the state already.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        state: the new state.
        error: why the workspace failed, as a sentence for people; None removes a stored one.
        operation_id: operation that ends with this state, and gets the event also if the workspace has the state; None:
            none.
    """
    changed = connection.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.state != state)
        .values(state=state, error_reason=error, updated_at=func.now())
        .returning(Workspace.id)
    )
    kind, payload = EventKind.WORKSPACE_STATE_CHANGED, {"state": state, "error_reason": error}
    if operation_id is not None:
        operations.append(connection, operation_id, kind, payload, terminal=True)
    elif changed is not None:
        events.append(connection, workspace_id, kind, payload)


def preparation_failed(connection: Connection, workspace_id: UUID, why: Transition) -> None:
    """Mark the workspace of a clone that did not complete as failed, and the git mirrors that it was making.

    Every transaction that ends a clone without success calls this (finish, kill, reaper), as no other transaction
    changes these states.

    Args:
        connection: the transaction that ends the clone.
        workspace_id: the clone's workspace; if it is deleted, only its mirrors are written, and the end of its
            deletion if its node has no file of it.
        why: the end of the clone.
    """
    columns = (Task.project_id, Workspace.deleted_at, Workspace.container_ref, Workspace.node_id.label("node"))
    found = select(*columns).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == workspace_id)
    project_id, deleted_at, place, node = connection.execute(found).one()
    message = why.error_reason or f"the clone ended as {why.target}"
    if deleted_at is None:
        set_state(connection, workspace_id, WorkspaceState.FAILED, message)
    elif place is None:  # the clone ended before it wrote a file, so its node will not find anything to remove
        end_deletion(connection, workspace_id, node)
    unfinished = select(WorkspaceRepo.url).where(WorkspaceRepo.workspace_id == workspace_id)
    node_id = select(Workspace.node_id).where(Workspace.id == workspace_id).scalar_subquery()
    fetching = (Mirror.project_id == project_id) & (Mirror.node_id == node_id) & (Mirror.state == CloneState.CLONING)
    connection.execute(
        update(Mirror).where(fetching, Mirror.remote.in_(unfinished)).values(state=CloneState.FAILED, error=message)
    )
    project_state.settle(connection, project_id, message, of_run=True)


def clone_completed(connection: Connection, execution_id: UUID) -> bool:
    """Return whether an execution has ended as `completed`.

    Uncommitted changes that this transaction has made count.
    """
    status = connection.scalar(select(ExecutionProcess.status).where(ExecutionProcess.id == execution_id))
    return bool(status == Status.COMPLETED)


def record_clone(
    connection: Connection,
    workspace: WorkspaceRow,
    repo_id: UUID,
    *,
    mirror_path: str,
    base_commit: str,
    branch: str | None,
) -> None:
    """Store the result of a clone: its base commit and branch, and the path of its git mirror.

    Args:
        connection: one transaction.
        workspace: the clone's workspace.
        repo_id: the repo that was cloned.
        mirror_path: directory of the bare mirror on the node.
        base_commit: commit at which the workspace's branch started.
        branch: target branch; None if the remote names no default branch.
    """
    connection.execute(
        update(WorkspaceRepo)
        .where(WorkspaceRepo.workspace_id == workspace.id, WorkspaceRepo.repo_id == repo_id)
        .values(base_commit=base_commit, mirror_path=mirror_path, target_branch=branch)
    )


def record_copied(connection: Connection, workspace_id: UUID, repo_id: UUID, paths: Sequence[str]) -> None:
    """Store the paths of the files that git does not have and that were copied into a clone."""
    mine = (WorkspaceRepo.workspace_id == workspace_id, WorkspaceRepo.repo_id == repo_id)
    connection.execute(update(WorkspaceRepo).where(*mine).values(copied_files=list(paths)))
