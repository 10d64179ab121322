"""Routes of merges: preview, merge, rebase, list and get."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject, OfWorkspace, WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.merges import MergeIn, MergeOut, MergePage, MergePreviewIn, MergePreviewOut, RebaseIn
from relay_core.domain.forges import Forges
from relay_core.domain.short_id import PATTERN
from relay_core.domain.vocabulary import MergeKind, MergeMethod, MergeStatus
from relay_core.store.database import Connection
from relay_core.store.merges import pull_requests, requests, views
from relay_core.store.merges.requests import MergeRequest
from relay_core.store.merges.views import MergeFilter
from relay_core.store.views import execution_views

router = APIRouter(prefix="/v1", tags=["merges"])

MergeId = Annotated[
    str,
    Path(
        min_length=4, max_length=36, pattern=PATTERN, description="Its id, or the first characters of it (4 or more)."
    ),
]


@router.post(
    "/workspaces/{workspace_id}/merge/preview",
    responses=problems(404, body=True),
    summary="Preview a merge",
)
def preview_merge(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Reader, body: MergePreviewIn | None = None
) -> MergePreviewOut:
    """Say what a merge would do, and what stands in its way. Nothing changes, and no node is asked.

    Conflicts are not known before the merge's turn comes: its execution then fails as `merge_conflict`.
    """
    wanted, forges = _request(body or MergePreviewIn()), Forges(services.settings.forges)
    with services.database.connect() as connection:
        return MergePreviewOut.model_validate(requests.preview(connection, workspace_id, wanted, principal, forges))


@router.post(
    "/workspaces/{workspace_id}/merge",
    status_code=202,
    response_model=MergeOut,
    responses=problems(404, 409, body=True),
    summary="Merge a workspace's commits into the target branch",
)
def merge_workspace(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Writer,
    creating: Creating,
    body: MergeIn | None = None,
) -> JSONResponse:
    """Queue a merge: the commits of a clone get into the target branch of its remote, as one commit or as a merge.

    Uncommitted changes are not merged. The commit is made outside of the clone, which is only read. If both sides
    changed the same lines, the execution fails as `merge_conflict`, `conflicts` names the files, and nothing has
    changed. The task is `done` once the target branch has the commit.

    The kind `pr` pushes the workspace's branch and opens a pull request (at GitLab a merge request) with the token in
    the project's secret. Relay asks its host for the status until it is merged, which makes the task `done`.
    """
    body = body or MergeIn()
    wanted, forges = _request(body), Forges(services.settings.forges)

    def create(connection: Connection) -> MergeOut:
        new = requests.add_merge(connection, workspace_id, wanted, principal, forges)
        return MergeOut(**views.get(connection, new, principal))

    return creating.answer(principal, body, 202, create)


@router.post(
    "/workspaces/{workspace_id}/rebase",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Rebase a workspace onto its target branch",
)
def rebase_workspace(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Writer,
    creating: Creating,
    body: RebaseIn | None = None,
) -> JSONResponse:
    """Queue a rebase: the commits of a clone move onto the present commit of the target branch.

    Branch, files and base commit move together. A clone with uncommitted changes is refused (`rebase_failed`). On a
    conflict the execution fails as `merge_conflict`, its text names the files, and the clone is as it was.
    """
    body = body or RebaseIn()

    def create(connection: Connection) -> ExecutionDetail:
        new = requests.add_rebase(connection, workspace_id, body.repo, body.target_branch, principal)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)


@router.get("/merges", responses=problems(404), summary="List merges, newest first")
def list_merges(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    workspace_id: OfWorkspace,
    project_id: OfProject,
    status: Annotated[MergeStatus | None, Query(description="Only merges with this status.")] = None,
) -> MergePage:
    """List the merges of your workspaces, also of deleted ones."""
    with services.database.connect() as connection:
        found = views.listed(connection, principal, MergeFilter(status, workspace_id, project_id), page)
    return MergePage(items=[MergeOut(**view) for view in found.items], next_cursor=found.next_cursor)


@router.get("/merges/{merge_id}", responses=problems(404), summary="Get a merge")
def get_merge(merge_id: MergeId, services: ServicesDep, principal: Reader) -> MergeOut:
    """Return one merge: its commits, its status, and the files of a conflict."""
    with services.database.connect() as connection:
        found = views.resolve(connection, merge_id, principal, "path.merge_id")
        return MergeOut(**views.get(connection, found, principal))


@router.post("/merges/{merge_id}/refresh", status_code=202, responses=problems(404), summary="Ask for a pull request")
def refresh_merge(merge_id: MergeId, services: ServicesDep, principal: Writer) -> MergeOut:
    """Let a worker ask the host of a pull request for its status within seconds, also of a closed one.

    Nothing changes for a merge without a pull request, and for one that is merged.
    """

    def ask(connection: Connection) -> MergeOut:
        found = views.resolve(connection, merge_id, principal, "path.merge_id")
        return MergeOut(**pull_requests.ask_soon(connection, found, principal))

    return services.database.transact(ask)


def _request(body: MergePreviewIn) -> MergeRequest:
    return MergeRequest(
        repo=body.repo,
        target_branch=body.target_branch,
        kind=MergeKind(body.kind),
        method=MergeMethod(body.method),
        message=body.message,
        generation=body.generation if isinstance(body, MergeIn) else None,
        token_secret=body.token_secret if isinstance(body, MergeIn) else None,
    )
