"""Routes of previews of acts that destroy something, and of going back to an execution."""

from dataclasses import asdict

from fastapi import APIRouter
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ProjectId, WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.git_acts import ResetIn
from relay_api.schemas.previews import PreviewOut, ResumeAtIn, ResumeAtPreviewIn
from relay_core.store.database import Connection
from relay_core.store.views import execution_views
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.workspaces import previews
from relay_core.store.workspaces.git_acts import ResetRequest
from relay_core.store.workspaces.resume_at import resume_at

router = APIRouter(prefix="/v1", tags=["previews"])


@router.post(
    "/workspaces/{workspace_id}/reset/preview", responses=problems(404, 409, body=True), summary="Preview a reset"
)
def preview_reset(workspace_id: WorkspaceId, body: ResetIn, services: ServicesDep, principal: Reader) -> PreviewOut:
    """Return what `POST /v1/workspaces/{id}/reset` with this body would do. `generation` of the body is not used."""
    with services.database.connect() as connection:
        before = None
        if body.before_execution is not None:
            field = "before_execution"
            before = resolve(connection, Kind.EXECUTION, body.before_execution, principal, aim=None, field=field)
        wanted = ResetRequest(before, body.commit, body.repo, body.discard_changes)
        return PreviewOut.model_validate(asdict(previews.of_reset(connection, workspace_id, wanted, principal)))


@router.post(
    "/workspaces/{workspace_id}/resume-at/preview",
    responses=problems(404, body=True),
    summary="Preview going back to an execution",
)
def preview_resume_at(
    workspace_id: WorkspaceId, body: ResumeAtPreviewIn, services: ServicesDep, principal: Reader
) -> PreviewOut:
    """Return what `POST /v1/workspaces/{id}/resume-at` would do, and whether the agent can continue from there."""
    with services.database.connect() as connection:
        at = resolve(connection, Kind.EXECUTION, body.execution, principal, aim=None, field="execution")
        told = previews.of_resume(connection, workspace_id, at, principal, discard_changes=body.discard_changes)
        return PreviewOut.model_validate(asdict(told))


@router.post(
    "/workspaces/{workspace_id}/resume-at",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Go back to an execution",
)
def go_back(
    workspace_id: WorkspaceId, body: ResumeAtIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue a reset of all clones to their commits before an execution; it drops that execution and all later ones.

    The present work trees are kept on the node first. The next follow-up of a session continues after the last message
    that is not dropped, if its agent can (`can_rewind` of `GET /v1/agents`); else it begins a new conversation.
    """

    def create(connection: Connection) -> ExecutionDetail:
        at = resolve(connection, Kind.EXECUTION, body.execution, principal, aim=None, field="execution")
        wanted = (workspace_id, at, body.generation, principal)
        new = resume_at(connection, *wanted, discard_changes=body.discard_changes)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)


@router.post("/workspaces/{workspace_id}/delete/preview", responses=problems(404), summary="Preview a deletion")
def preview_deletion(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> PreviewOut:
    """Return what `DELETE /v1/workspaces/{id}` would do."""
    hours = services.settings.quarantine_hours
    with services.database.connect() as connection:
        return PreviewOut.model_validate(asdict(previews.of_deletion(connection, workspace_id, principal, hours)))


@router.post(
    "/projects/{project_id}/delete/preview", responses=problems(404), summary="Preview the deletion of a project"
)
def preview_project_deletion(project_id: ProjectId, services: ServicesDep, principal: Reader) -> PreviewOut:
    """Return what `DELETE /v1/projects/{id}` would do."""
    hours = services.settings.quarantine_hours
    with services.database.connect() as connection:
        told = previews.of_project_deletion(connection, project_id, principal, hours)
        return PreviewOut.model_validate(asdict(told))
