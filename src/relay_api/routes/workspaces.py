"""Routes of workspaces: lists, details, stop, resume, retry, deletion, and stopping their dev servers."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject, OfTask, WorkspaceId, WorkspaceItself
from relay_api.schemas import answers, inputs
from relay_api.schemas.common import Input
from relay_api.schemas.executions import ExecutionDetail, ExecutionPage
from relay_api.schemas.previews import OfPreview
from relay_api.schemas.workspaces import Deleted, WorkspaceChange, WorkspaceIn, WorkspaceOut, WorkspacePage
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.database import Connection
from relay_core.store.executions import retry
from relay_core.store.views import execution_views, workspace_views
from relay_core.store.views.access import require_workspace
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.workspaces import by_hand, lane, stop_resume
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.dev_servers import kill_dev_servers
from relay_core.store.workspaces.generation import check_generation
from relay_core.store.workspaces.on_project import create_on_project

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.get("", responses=problems(404), summary="List workspaces, newest first")
def list_workspaces(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    project_id: OfProject,
    task_id: OfTask,
    state: Annotated[WorkspaceState | None, Query()] = None,
    archived: Annotated[bool | None, Query(description="Only archived ones, or only the others.")] = None,
) -> WorkspacePage:
    """List the workspaces that are not deleted."""
    conditions = workspace_views.WorkspaceFilter(state, project_id, task_id, archived)
    with services.database.connect() as connection:
        found = workspace_views.list_workspaces(connection, principal, conditions, page)
    return answers.workspace_page(found, services.links)


@router.post(
    "",
    status_code=202,
    response_model=WorkspaceOut,
    responses=problems(404, 409, body=True),
    summary="Make a workspace on a project",
)
def create_workspace(body: WorkspaceIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Make a workspace with all repositories of a project, and run their setup scripts in it. No agent runs.

    What the request leaves open of image, limits, scripts and working directories comes from the job files of the
    repositories (`relay.toml`), then from the project. An executor in a job file is left aside.

    A project that is `cloning` or `failed` gets none: 409 `project_not_ready`. Add steps to the workspace with
    `POST /v1/workspaces/{id}/executions`.
    """

    def create(connection: Connection) -> WorkspaceOut:
        project_id = resolve(connection, Kind.PROJECT, body.project_id, principal, field="project_id")
        wanted = inputs.workspace(body, project_id, services.settings, services.secrets)
        wanted = inputs.workspace_of_profile(wanted, body.profile, services.session_profiles)
        new = create_on_project(connection, wanted, principal, services.settings)
        return answers.workspace(workspace_views.workspace(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)


@router.get("/{workspace_id}", responses=problems(404), summary="Get a workspace")
def get_workspace(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> WorkspaceOut:
    """Return one workspace with its task, its repositories and its queued or running dev server."""
    with services.database.connect() as connection:
        return answers.workspace(workspace_views.workspace(connection, workspace_id, principal), services.links)


@router.get("/{workspace_id}/executions", responses=problems(404), summary="List a workspace's executions")
def list_workspace_executions(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Reader, page: Paging
) -> ExecutionPage:
    """List the executions of a workspace in the order of their creation."""
    with services.database.connect() as connection:
        found = execution_views.workspace_executions(connection, workspace_id, principal, page)
    return answers.execution_page(found, services.links)


@router.patch("/{workspace_id}", responses=problems(404, 409, body=True), summary="Change a workspace")
def change_workspace(
    workspace_id: WorkspaceItself, body: WorkspaceChange, services: ServicesDep, principal: Writer
) -> WorkspaceOut:
    """Apply a merge patch (RFC 7396): rename it, pin it, archive it, or let its agents run in another directory.

    To archive it also ends its dev servers and queues the archive scripts of its repositories, one after another; a
    script that fails does not keep the others from running. A stopped workspace is archived without them. While other
    steps are queued or running: 409 `workspace_busy`.
    """
    patch = inputs.workspace_fields(body)

    def apply(connection: Connection) -> WorkspaceOut:
        by_hand.change(connection, workspace_id, patch, principal)
        return answers.workspace(workspace_views.workspace(connection, workspace_id, principal), services.links)

    return services.database.transact(apply)


@router.delete("/{workspace_id}", status_code=202, responses=problems(404, 409), summary="Delete a workspace")
def delete_workspace(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Writer, generation: OfPreview = None
) -> Deleted:
    """Hide the workspace and kill its executions. Its node then removes the container, and puts the files away.

    Until the end of `RELAY_QUARANTINE_HOURS` it can be restored: `POST /v1/workspaces/{id}/restore`.

    Its executions, logs and events can still be read by their ids.
    """

    def delete(connection: Connection) -> Deleted:
        require_workspace(connection, workspace_id, principal)
        lane.lock(connection, workspace_id)
        check_generation(connection, workspace_id, generation)
        return Deleted(id=workspace_id, killed=delete_workspaces(connection, [workspace_id], principal.owner))

    return services.database.transact(delete)


@router.delete(
    "/{workspace_id}/dev-server", status_code=202, responses=problems(404), summary="Stop a workspace's dev servers"
)
def stop_dev_server(workspace_id: WorkspaceId, services: ServicesDep, principal: Writer) -> ExecutionPage:
    """Kill all queued and running dev servers of the workspace and return them. The list is empty if there are none."""

    def stop(connection: Connection) -> ExecutionPage:
        require_workspace(connection, workspace_id, principal)
        ids = kill_dev_servers(connection, workspace_id, principal.owner)
        views = [execution_views.execution(connection, execution_id, principal) for execution_id in ids]
        return ExecutionPage(items=[answers.execution(view, services.links) for view in views], next_cursor=None)

    return services.database.transact(stop)


@router.post("/{workspace_id}/stop", status_code=202, responses=problems(404, 409), summary="Stop a workspace")
def stop_workspace(workspace_id: WorkspaceId, services: ServicesDep, principal: Writer) -> WorkspaceOut:
    """Kill the workspace's running executions, including dev servers, then stop its container. Files stay.

    Watch `state` to see when this is done. Queued executions wait until the workspace is resumed. Asking again changes
    nothing.
    """

    def stop(connection: Connection) -> WorkspaceOut:
        require_workspace(connection, workspace_id, principal)
        stop_resume.request_stop(connection, workspace_id, principal.owner)
        return answers.workspace(workspace_views.workspace(connection, workspace_id, principal), services.links)

    return services.database.transact(stop)


@router.post("/{workspace_id}/resume", status_code=202, responses=problems(404, 409), summary="Resume a workspace")
def resume_workspace(workspace_id: WorkspaceId, services: ServicesDep, principal: Writer) -> WorkspaceOut:
    """Start the container of a stopped workspace again, then its queued executions.

    For a workspace that is running already, this changes nothing.
    """

    def resume(connection: Connection) -> WorkspaceOut:
        require_workspace(connection, workspace_id, principal)
        stop_resume.request_resume(connection, workspace_id, principal.owner)
        return answers.workspace(workspace_views.workspace(connection, workspace_id, principal), services.links)

    return services.database.transact(resume)


@router.post(
    "/{workspace_id}/retry",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409),
    summary="Prepare a failed workspace again",
)
def retry_workspace(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue the clone of a failed workspace again. Repositories that are cloned already stay.

    The steps that follow the clone run after it, if they never ran.
    """

    def create(connection: Connection) -> ExecutionDetail:
        require_workspace(connection, workspace_id, principal)
        new = retry.retry_workspace(connection, workspace_id, principal.owner)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, Input(), 202, create)
