"""Routes of git acts on a workspace: push to the remote, and reset of its clones."""

from fastapi import APIRouter
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.git_acts import PushIn, ResetIn
from relay_core.store.database import Connection
from relay_core.store.views import execution_views
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.workspaces.git_acts import PushRequest, ResetRequest, add_push, add_reset

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.post(
    "/{workspace_id}/push",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Push a workspace's commits to the remote",
)
def push_workspace(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Writer,
    creating: Creating,
    body: PushIn | None = None,
) -> JSONResponse:
    """Queue a push of the commits of a clone to its remote, with the credentials with which the node fetches.

    Uncommitted changes are not pushed. Other commits of the remote's branch are never replaced unless `force` is set;
    the execution then ends as `push_rejected`, and its text says what the remote refused.
    """
    body = body or PushIn()
    wanted = PushRequest(body.repo, body.branch, body.force)

    def create(connection: Connection) -> ExecutionDetail:
        new = add_push(connection, workspace_id, wanted, principal)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)


@router.post(
    "/{workspace_id}/reset",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Reset a workspace's clones",
)
def reset_workspace(
    workspace_id: WorkspaceId, body: ResetIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue a reset: the workspace's branch points to the commit, and index and files are those of the commit.

    Ignored files stay. A clone with uncommitted changes is refused (`reset_failed`) unless `discard_changes` is set.
    Commits that the branch then lacks stay in the clone, and can be reset to.
    """

    def create(connection: Connection) -> ExecutionDetail:
        before, field = None, "before_execution"
        if body.before_execution is not None:
            before = resolve(connection, Kind.EXECUTION, body.before_execution, principal, aim=None, field=field)
        wanted = ResetRequest(before, body.commit, body.repo, body.discard_changes, body.generation)
        new = add_reset(connection, workspace_id, wanted, principal)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)
