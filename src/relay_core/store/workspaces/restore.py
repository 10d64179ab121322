"""Requests of clients about deleted workspaces: to restore one, or to remove it for good."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, update

from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import QuarantineState
from relay_core.store import operations
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.access import require_workspace
from relay_core.store.workspaces import lane, purge
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.generation import check_generation

W = Workspace


def request_restore(connection: Connection, workspace_id: UUID, principal: Principal) -> None:
    """Ask the node of a deleted workspace to bring its files back; asking again changes nothing while it is under way.

    If its node was gone for so long that the operation has ended, asking again begins another one.

    Raises:
        NotFound: there is no such workspace, or it belongs to another owner.
        Conflict: `not_deleted`; `project_deleted`: its project has to be restored first; `not_restorable`: its files
            are gone, or are being removed for good.
    """
    require_workspace(connection, workspace_id, principal, deleted_too=True)
    lane.lock(connection, workspace_id)
    row = _row(connection, workspace_id)
    if row.deleted_at is None:
        raise Conflict("the workspace is not deleted, so there is nothing to restore", code="not_deleted")
    refuse_unless_kept(row)
    if row.quarantine == QuarantineState.RESTORING:
        begin_restore(connection, workspace_id, principal)
        return
    if row.project_deleted_at is not None:
        message = f"its project is deleted; restore that: POST /v1/projects/{row.project_id}/restore"
        raise Conflict(message, code="project_deleted")
    begin_restore(connection, workspace_id, principal)


def begin_restore(connection: Connection, workspace_id: UUID, principal: Principal) -> None:
    """Store the request for a workspace that can be restored, with its event. The caller holds the lane."""
    asked = update(W).where(W.id == workspace_id)
    connection.execute(asked.values(quarantine=QuarantineState.RESTORING))
    subject = operations.of_workspace(workspace_id)
    operation_id = operations.begin(connection, OperationKind.WORKSPACE_RESTORE, subject)
    if operation_id is not None:
        payload = {"by": principal.owner}
        operations.append(connection, operation_id, EventKind.WORKSPACE_RESTORE_REQUESTED, payload)


def request_purge(connection: Connection, workspace_id: UUID, generation: str, principal: Principal) -> int:
    """Delete a workspace, if it is not deleted yet, and let its node remove its files for good.

    Args:
        connection: one transaction of `Database`.
        workspace_id: the workspace.
        generation: of the preview that the client has read; without one nothing is removed for good.
        principal: the client.

    Returns:
        How many running executions were asked to end.

    Raises:
        NotFound: there is no such workspace, or it belongs to another owner.
        Conflict: `stale_generation`; `not_restorable`: its files are gone already, or are being removed;
            `workspace_restoring`.
    """
    require_workspace(connection, workspace_id, principal, deleted_too=True)
    lane.lock(connection, workspace_id)
    check_generation(connection, workspace_id, generation)
    row = _row(connection, workspace_id)
    if row.quarantine == QuarantineState.RESTORING:
        message = "the workspace is being restored; wait for that, then delete it"
        raise Conflict(message, code="workspace_restoring")
    if row.deleted_at is not None:
        refuse_unless_kept(row)
    killed = 0 if row.deleted_at is not None else delete_workspaces(connection, [workspace_id], principal.owner)
    purge.begin(connection, workspace_id, principal.owner)
    return killed


def refuse_unless_kept(row: Row[*tuple[Any, ...]]) -> None:
    """Raise an error if nothing is left of a deleted workspace, or will be.

    Raises:
        Conflict: `not_restorable`.
    """
    if row.container_ref is None or row.purge_why is not None or row.quarantine == QuarantineState.PURGING:
        message = "the files of the workspace are gone or are being removed; start a new run"
        raise Conflict(message, code="not_restorable")


def _row(connection: Connection, workspace_id: UUID) -> Row[*tuple[Any, ...]]:
    columns = (W.deleted_at, W.quarantine, W.container_ref, W.purge_why, Task.project_id)
    found = select(*columns, Project.deleted_at.label("project_deleted_at")).join(Task, Task.id == W.task_id)
    found = found.join(Project, Project.id == Task.project_id).where(W.id == workspace_id)
    return connection.execute(found).one()
