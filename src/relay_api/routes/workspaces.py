"""Workspaces: reading, deleting, stopping their dev servers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from relay_api import views
from relay_api.dependencies import Core, Paging, Reader, Writer
from relay_api.responses import problems
from relay_api.schemas.executions import ExecutionPage
from relay_api.schemas.workspaces import Deleted, WorkspaceOut, WorkspacePage
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.postgres import deletion
from relay_core.postgres import views as read

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.get("", responses=problems(), summary="List workspaces, newest first")
def list_workspaces(
    core: Core,
    principal: Reader,
    page: Paging,
    state: Annotated[WorkspaceState | None, Query()] = None,
    project_id: Annotated[UUID | None, Query()] = None,
    task_id: Annotated[UUID | None, Query()] = None,
) -> WorkspacePage:
    """Workspaces that are not deleted."""
    wanted = read.WorkspaceFilter(state, project_id, task_id)
    with core.engine.connect() as connection:
        return views.workspace_page(read.list_workspaces(connection, principal, wanted, page), core.links)


@router.get("/{workspace_id}", responses=problems(404), summary="Get a workspace")
def get_workspace(workspace_id: UUID, core: Core, principal: Reader) -> WorkspaceOut:
    """One workspace with its task, repositories and live dev server."""
    with core.engine.connect() as connection:
        return views.workspace(read.workspace(connection, workspace_id, principal), core.links)


@router.get("/{workspace_id}/executions", responses=problems(404), summary="List a workspace's executions")
def list_workspace_executions(workspace_id: UUID, core: Core, principal: Reader, page: Paging) -> ExecutionPage:
    """Executions in the order of their creation."""
    with core.engine.connect() as connection:
        found = read.workspace_executions(connection, workspace_id, principal, page)
        return views.execution_page(found, core.links)


@router.delete("/{workspace_id}", status_code=202, responses=problems(404), summary="Delete a workspace")
def delete_workspace(workspace_id: UUID, core: Core, principal: Writer) -> Deleted:
    """Hide it and end what runs in it; its node then removes container and files.

    Its executions, logs and events stay readable by their ids.
    """
    with core.engine.begin() as connection:
        read.require_workspace(connection, workspace_id, principal)
        due = deletion.delete_workspace(connection, workspace_id, principal.owner)
    core.bell.revoke(due.task_ids)
    return Deleted(id=workspace_id, killed=len(due.task_ids))


@router.delete(
    "/{workspace_id}/dev-server", status_code=202, responses=problems(404), summary="Stop a workspace's dev servers"
)
def stop_dev_server(workspace_id: UUID, core: Core, principal: Writer) -> ExecutionPage:
    """Kill all that are queued or running; without any nothing happens. Answers with those it asked to end."""
    with core.engine.begin() as connection:
        read.require_workspace(connection, workspace_id, principal)
        ids = [row["id"] for row in read.dev_servers(connection, [workspace_id])]
        due = deletion.kill(connection, ids, principal.owner)
        stopped = [views.execution(read.execution(connection, one, principal), core.links) for one in ids]
    core.bell.ring(due.rings)
    core.bell.revoke(due.task_ids)
    return ExecutionPage(items=stopped, next_cursor=None)
