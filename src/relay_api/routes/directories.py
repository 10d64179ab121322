"""Routes of directories of nodes that look like those of workspaces and are not used."""

from uuid import UUID

from fastapi import APIRouter

from relay_api.dependencies import Admin, Paging, ServicesDep
from relay_api.http.responses import problems
from relay_api.schemas import answers
from relay_api.schemas.directories import AdoptIn, DirectoryOut, DirectoryPage
from relay_api.schemas.workspaces import WorkspaceOut
from relay_core.store.database import Connection
from relay_core.store.nodes import directories
from relay_core.store.nodes.adopt_directory import adopt
from relay_core.store.views import workspace_views
from relay_core.store.views.lookup import Kind, resolve

router = APIRouter(prefix="/v1/directories", tags=["admin"])


@router.get("", responses=problems(), summary="List directories of nodes that are not used")
def list_directories(services: ServicesDep, principal: Admin, page: Paging) -> DirectoryPage:  # noqa: ARG001 - asks for the scope
    """List what nodes found: directories with the anchor of a workspace that no workspace claims, or several of one.

    Needs the scope `admin`.
    """
    with services.database.connect() as connection:
        found = directories.listed(connection, page)
    return DirectoryPage(
        items=[DirectoryOut.model_validate(view) for view in found.items], next_cursor=found.next_cursor
    )


@router.post(
    "/{directory_id}/adopt", responses=problems(404, 409, body=True), summary="Make a directory a workspace again"
)
def adopt_directory(directory_id: UUID, body: AdoptIn, services: ServicesDep, principal: Admin) -> WorkspaceOut:
    """Let a workspace have an `unregistered` directory, with the id, branch and clones that its anchor says.

    It is `stopped`; its next step, or a resume, starts it in a new container. Needs the scope `admin`. 409:
    `directory_duplicated`, `workspace_exists`, `uid_taken`.
    """

    def take(connection: Connection) -> WorkspaceOut:
        project_id = resolve(connection, Kind.PROJECT, body.project_id, principal, field="project_id")
        made = adopt(connection, directory_id, project_id, body.title, principal)
        return answers.workspace(workspace_views.workspace(connection, made, principal), services.links)

    return services.database.transact(take)
