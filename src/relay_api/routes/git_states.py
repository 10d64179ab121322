"""Routes of the git state of a workspace: read it, and acknowledge a divergence."""

from fastapi import APIRouter

from relay_api.dependencies import Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import WorkspaceId
from relay_api.schemas.git_states import AcknowledgeIn, GitStateOut
from relay_core.store.database import Connection
from relay_core.store.views import git_states
from relay_core.store.workspaces.acknowledge import acknowledge

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.get("/{workspace_id}/git-state", responses=problems(404), summary="Get the git state of a workspace")
def get_git_state(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> GitStateOut:
    """Return how each clone compares with the commit that the last execution, or an acknowledgement, recorded."""
    with services.database.connect() as connection:
        return GitStateOut(**git_states.git_state(connection, workspace_id, principal))


@router.post("/{workspace_id}/acknowledge", responses=problems(404, 409, body=True), summary="Acknowledge a divergence")
def acknowledge_divergence(
    workspace_id: WorkspaceId, body: AcknowledgeIn, services: ServicesDep, principal: Writer
) -> GitStateOut:
    """Let the commits that were found in the clones count as recorded; queued executions then start from them.

    No file changes. To return to the recorded commits, acknowledge and then reset.
    """

    def accept(connection: Connection) -> GitStateOut:
        acknowledge(connection, workspace_id, body.generation, principal)
        return GitStateOut(**git_states.git_state(connection, workspace_id, principal))

    return services.database.transact(accept)
