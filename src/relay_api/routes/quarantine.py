"""Routes of deleted workspaces and projects: what is kept, its restoration, its removal for good, and the clean-up."""

from dataclasses import asdict

from fastapi import APIRouter

from relay_api.dependencies import Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject, ProjectItself, WorkspaceItself
from relay_api.schemas.previews import PreviewOut
from relay_api.schemas.quarantine import (
    CleanedUp,
    CleanUpIn,
    CleanUpPreviewIn,
    PurgeIn,
    QuarantinedOut,
    QuarantinedPage,
    RestoredProject,
)
from relay_api.schemas.workspaces import Deleted
from relay_core.store.database import Connection
from relay_core.store.projects import clean_up, restore
from relay_core.store.views import quarantine_views
from relay_core.store.views.quarantine_views import QuarantineFilter
from relay_core.store.workspaces import previews
from relay_core.store.workspaces.restore import request_purge, request_restore

router = APIRouter(prefix="/v1", tags=["quarantine"])


@router.get("/quarantine", responses=problems(404), summary="List deleted workspaces that can be restored")
def list_quarantine(services: ServicesDep, principal: Reader, page: Paging, project_id: OfProject) -> QuarantinedPage:
    """List the deleted workspaces whose files their nodes keep, newest first."""
    with services.database.connect() as connection:
        found = quarantine_views.listed(connection, principal, QuarantineFilter(project_id), page)
    items = [QuarantinedOut.model_validate(view) for view in found.items]
    return QuarantinedPage(items=items, next_cursor=found.next_cursor)


@router.post(
    "/workspaces/{workspace_id}/restore",
    status_code=202,
    responses=problems(404, 409),
    summary="Restore a deleted workspace",
)
def restore_workspace(workspace_id: WorkspaceItself, services: ServicesDep, principal: Writer) -> QuarantinedOut:
    """Ask its node to bring a deleted workspace back, with all of its files; its task comes back, too.

    It is `stopped` then, and the next step or a resume starts it in a new container. Watch for `workspace.restored`.
    If its project was deleted: 409 `project_deleted`. If its files are gone or going: 409 `not_restorable`.
    """

    def ask(connection: Connection) -> QuarantinedOut:
        request_restore(connection, workspace_id, principal)
        return QuarantinedOut.model_validate(quarantine_views.deleted(connection, workspace_id, principal))

    return services.database.transact(ask)


@router.post(
    "/workspaces/{workspace_id}/purge/preview",
    responses=problems(404),
    summary="Preview the removal of a workspace for good",
)
def preview_purge(workspace_id: WorkspaceItself, services: ServicesDep, principal: Reader) -> PreviewOut:
    """Return what `POST /v1/workspaces/{id}/purge` would do."""
    with services.database.connect() as connection:
        return PreviewOut.model_validate(asdict(previews.of_purge(connection, workspace_id, principal)))


@router.post(
    "/workspaces/{workspace_id}/purge",
    status_code=202,
    responses=problems(404, 409, body=True),
    summary="Remove a workspace for good",
)
def purge_workspace(workspace_id: WorkspaceItself, body: PurgeIn, services: ServicesDep, principal: Writer) -> Deleted:
    """Delete a workspace, if it is not deleted yet, and let its node remove its files at once; no way leads back.

    It needs the `generation` of a preview: nothing is removed for good without one.
    """

    def purge(connection: Connection) -> Deleted:
        killed = request_purge(connection, workspace_id, body.generation, principal)
        return Deleted(id=workspace_id, killed=killed)

    return services.database.transact(purge)


@router.post(
    "/projects/{project_id}/restore", status_code=202, responses=problems(404, 409), summary="Restore a deleted project"
)
def restore_project(project_id: ProjectItself, services: ServicesDep, principal: Writer) -> RestoredProject:
    """Take back the deletion of a project, and ask nodes for the workspaces that were deleted with it.

    A deleted project is found by its id only. Its secrets and stored files were removed with it: store them again.
    """
    return RestoredProject(id=project_id, workspaces=restore.restore(services.database, project_id, principal))


@router.post(
    "/projects/{project_id}/purge/preview",
    responses=problems(404),
    summary="Preview the removal of a project for good",
)
def preview_project_purge(project_id: ProjectItself, services: ServicesDep, principal: Reader) -> PreviewOut:
    """Return what `POST /v1/projects/{id}/purge` would do."""
    with services.database.connect() as connection:
        return PreviewOut.model_validate(asdict(previews.of_project_purge(connection, project_id, principal)))


@router.post(
    "/projects/{project_id}/purge",
    status_code=202,
    responses=problems(404, 409, body=True),
    summary="Remove a project for good",
)
def purge_project(project_id: ProjectItself, body: PurgeIn, services: ServicesDep, principal: Writer) -> Deleted:
    """Delete a project, if it is not deleted yet, and let nodes remove the files of all its workspaces at once.

    It needs the `generation` of a preview: nothing is removed for good without one.
    """
    return Deleted(id=project_id, killed=restore.purge(services.database, project_id, body.generation, principal))


@router.post(
    "/projects/{project_id}/clean-up/preview",
    responses=problems(404, body=True),
    summary="Preview the clean-up of a project's archive",
)
def preview_clean_up(
    project_id: ProjectItself, body: CleanUpPreviewIn, services: ServicesDep, principal: Reader
) -> PreviewOut:
    """Return what `POST /v1/projects/{id}/clean-up` would do, with the workspaces that it would delete."""
    hours = services.settings.quarantine_hours
    with services.database.connect() as connection:
        told = previews.of_clean_up(connection, project_id, principal, body.unchanged_seconds, hours)
    return PreviewOut.model_validate(asdict(told))


@router.post(
    "/projects/{project_id}/clean-up",
    status_code=202,
    responses=problems(404, 409, body=True),
    summary="Delete the archived workspaces of a project",
)
def clean_up_project(project_id: ProjectItself, body: CleanUpIn, services: ServicesDep, principal: Writer) -> CleanedUp:
    """Delete the archived workspaces of a project in which nothing runs or waits, except pinned ones.

    It needs the `generation` of a preview. Nodes keep the files for a while, as after every deletion.
    """
    wanted = (project_id, body.generation, body.unchanged_seconds, principal)
    return CleanedUp(project_id=project_id, workspaces=clean_up.clean_up(services.database, *wanted))
