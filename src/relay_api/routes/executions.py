"""Executions: reading and killing."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Made, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.schemas import answers
from relay_api.schemas.executions import EventList, ExecutionDetail, ExecutionPage, RetryIn
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store import events
from relay_core.store.executions import retry
from relay_core.store.transaction import transact
from relay_core.store.views import api_views as read
from relay_core.store.workspaces import deletion

router = APIRouter(prefix="/v1/executions", tags=["executions"])


@router.get("", responses=problems(), summary="List executions, newest first")
def list_executions(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    status: Annotated[list[Status] | None, Query(max_length=5, description="Any of these.")] = None,
    run_reason: Annotated[list[RunReason] | None, Query(max_length=6, description="Any of these.")] = None,
    workspace_id: Annotated[UUID | None, Query()] = None,
) -> ExecutionPage:
    """Executions of all workspaces, those of deleted ones too: they are the record of what happened."""
    wanted = read.ExecutionFilter(status or (), run_reason or (), workspace_id)
    with services.database.connect() as connection:
        return answers.execution_page(read.list_executions(connection, principal, wanted, page), services.links)


@router.get("/{execution_id}", responses=problems(404), summary="Get an execution")
def get_execution(execution_id: UUID, services: ServicesDep, principal: Reader) -> ExecutionDetail:
    """One execution; `status` alone says how it stands, whatever its log looks like."""
    with services.database.connect() as connection:
        return answers.execution_detail(read.execution(connection, execution_id, principal), services.links)


@router.get("/{execution_id}/events", responses=problems(404), summary="List an execution's events")
def list_execution_events(execution_id: UUID, services: ServicesDep, principal: Reader) -> EventList:
    """All events of one operation by `sequence` (1..n); the terminal one is the last."""
    with services.database.connect() as connection:
        read.require_execution(connection, execution_id, principal)
        return EventList(items=answers.events(events.of_operation(connection, execution_id)))


@router.post("/{execution_id}/kill", status_code=202, responses=problems(404), summary="Kill an execution")
def kill_execution(execution_id: UUID, services: ServicesDep, principal: Writer) -> ExecutionDetail:
    """Ask for the end of all its processes; asking again, or of one that has ended, changes nothing.

    A queued execution is killed at once, a running one when its last process is gone: watch `status`.
    """

    def ask(connection: Connection) -> tuple[deletion.Killed, read.View]:
        read.require_execution(connection, execution_id, principal)
        due = deletion.kill(connection, [execution_id], principal.owner)
        return due, read.execution(connection, execution_id, principal)

    due, view = transact(services.database, ask)
    services.dispatcher.dispatch(due.messages)
    services.dispatcher.revoke(due.task_ids)
    return answers.execution_detail(view, services.links)


@router.post(
    "/{execution_id}/retry",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Repeat a failed or killed execution",
)
def retry_execution(
    execution_id: UUID, services: ServicesDep, principal: Writer, creating: Creating, body: RetryIn | None = None
) -> JSONResponse:
    """Queue it again in the same workspace, at the end of its lane, with the steps that were to follow it.

    The answer is the new execution; `retry_of` names the old one, which stays as it is.
    """
    body = body or RetryIn()
    again = body.run_agent_again

    def make(connection: Connection) -> Made:
        read.require_execution(connection, execution_id, principal)
        added = retry.retry_execution(connection, execution_id, principal.owner, run_agent_again=again)
        view = read.execution(connection, added.execution_id, principal)
        return Made(
            answers.execution_detail(view, services.links), lambda: services.dispatcher.dispatch(added.messages)
        )

    return creating.answer(principal, body, 202, make)
