"""Workspaces: reading, stopping, resuming, preparing again, deleting; stopping their dev servers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Made, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.schemas import answers
from relay_api.schemas.common import Input
from relay_api.schemas.executions import ExecutionDetail, ExecutionOut, ExecutionPage
from relay_api.schemas.workspaces import Deleted, WorkspaceOut, WorkspacePage
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.executions import retry
from relay_core.store.transaction import transact
from relay_core.store.views import api_views as read
from relay_core.store.workspaces import deletion, stop_resume

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])


@router.get("", responses=problems(), summary="List workspaces, newest first")
def list_workspaces(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    state: Annotated[WorkspaceState | None, Query()] = None,
    project_id: Annotated[UUID | None, Query()] = None,
    task_id: Annotated[UUID | None, Query()] = None,
) -> WorkspacePage:
    """Workspaces that are not deleted."""
    wanted = read.WorkspaceFilter(state, project_id, task_id)
    with services.database.connect() as connection:
        return answers.workspace_page(read.list_workspaces(connection, principal, wanted, page), services.links)


@router.get("/{workspace_id}", responses=problems(404), summary="Get a workspace")
def get_workspace(workspace_id: UUID, services: ServicesDep, principal: Reader) -> WorkspaceOut:
    """One workspace with its task, repositories and live dev server."""
    with services.database.connect() as connection:
        return answers.workspace(read.workspace(connection, workspace_id, principal), services.links)


@router.get("/{workspace_id}/executions", responses=problems(404), summary="List a workspace's executions")
def list_workspace_executions(
    workspace_id: UUID, services: ServicesDep, principal: Reader, page: Paging
) -> ExecutionPage:
    """Executions in the order of their creation."""
    with services.database.connect() as connection:
        found = read.workspace_executions(connection, workspace_id, principal, page)
        return answers.execution_page(found, services.links)


@router.delete("/{workspace_id}", status_code=202, responses=problems(404), summary="Delete a workspace")
def delete_workspace(workspace_id: UUID, services: ServicesDep, principal: Writer) -> Deleted:
    """Hide it and end what runs in it; its node then removes container and files.

    Its executions, logs and events stay readable by their ids.
    """

    def delete(connection: Connection) -> deletion.Killed:
        read.require_workspace(connection, workspace_id, principal)
        return deletion.delete_workspaces(connection, [workspace_id], principal.owner)

    due = transact(services.database, delete)
    services.dispatcher.revoke(due.task_ids)
    return Deleted(id=workspace_id, killed=len(due.task_ids))


@router.delete(
    "/{workspace_id}/dev-server", status_code=202, responses=problems(404), summary="Stop a workspace's dev servers"
)
def stop_dev_server(workspace_id: UUID, services: ServicesDep, principal: Writer) -> ExecutionPage:
    """Kill all that are queued or running; without any nothing happens. Answers with those it asked to end."""

    def kill(connection: Connection) -> tuple[deletion.Killed, list[ExecutionOut]]:
        read.require_workspace(connection, workspace_id, principal)
        ids = [row["id"] for row in read.dev_servers(connection, [workspace_id])]
        due = deletion.kill(connection, ids, principal.owner)
        return due, [answers.execution(read.execution(connection, one, principal), services.links) for one in ids]

    due, stopped = transact(services.database, kill)
    services.dispatcher.dispatch(due.messages)
    services.dispatcher.revoke(due.task_ids)
    return ExecutionPage(items=stopped, next_cursor=None)


@router.post("/{workspace_id}/stop", status_code=202, responses=problems(404, 409), summary="Stop a workspace")
def stop_workspace(workspace_id: UUID, services: ServicesDep, principal: Writer) -> WorkspaceOut:
    """Kill what runs in it, dev servers too, then stop its container; files stay. Watch `state`.

    What is queued waits for a resume. Again, it changes nothing.
    """

    def stop(connection: Connection) -> tuple[deletion.Killed, read.View]:
        read.require_workspace(connection, workspace_id, principal)
        due = stop_resume.request_stop(connection, workspace_id, principal.owner)
        return due, read.workspace(connection, workspace_id, principal)

    due, view = transact(services.database, stop)
    services.dispatcher.dispatch(due.messages)
    services.dispatcher.revoke(due.task_ids)
    return answers.workspace(view, services.links)


@router.post("/{workspace_id}/resume", status_code=202, responses=problems(404, 409), summary="Resume a workspace")
def resume_workspace(workspace_id: UUID, services: ServicesDep, principal: Writer) -> WorkspaceOut:
    """Let the same container run again, then what is queued. Again, or of one that runs, it changes nothing."""

    def resume(connection: Connection) -> WorkspaceOut:
        read.require_workspace(connection, workspace_id, principal)
        stop_resume.request_resume(connection, workspace_id, principal.owner)
        return answers.workspace(read.workspace(connection, workspace_id, principal), services.links)

    return transact(services.database, resume)


@router.post(
    "/{workspace_id}/retry",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409),
    summary="Prepare a failed workspace again",
)
def retry_workspace(workspace_id: UUID, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Queue its clone again; clones that are there are kept. The steps after it follow if they never ran."""

    def make(connection: Connection) -> Made:
        read.require_workspace(connection, workspace_id, principal)
        added = retry.retry_workspace(connection, workspace_id, principal.owner)
        view = read.execution(connection, added.execution_id, principal)
        return Made(
            answers.execution_detail(view, services.links), lambda: services.dispatcher.dispatch(added.messages)
        )

    return creating.answer(principal, Input(), 202, make)
