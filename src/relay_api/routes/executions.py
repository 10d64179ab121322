"""Routes of executions: lists, details, events, kill and retry."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ActiveExecutionId, ExecutionId, FailedExecutionId, OfWorkspace
from relay_api.schemas import answers
from relay_api.schemas.executions import EventList, ExecutionDetail, ExecutionPage, RetryIn, TurnChange
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store import events
from relay_core.store.database import Connection
from relay_core.store.executions import conversations, retry
from relay_core.store.executions.kill import kill
from relay_core.store.views import execution_views
from relay_core.store.views.access import require_execution

router = APIRouter(prefix="/v1/executions", tags=["executions"])


@router.get("", responses=problems(404), summary="List executions, newest first")
def list_executions(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    workspace_id: OfWorkspace,
    status: Annotated[
        list[Status] | None, Query(max_length=5, description="Only executions with one of these values.")
    ] = None,
    run_reason: Annotated[
        list[RunReason] | None,
        Query(max_length=len(RunReason), description="Only executions of one of these kinds."),
    ] = None,
    *,
    without_workspace: Annotated[bool, Query(description="Only clones of projects, which need no workspace.")] = False,
) -> ExecutionPage:
    """List the executions of all workspaces. Those of deleted workspaces are included, as a record of what happened."""
    conditions = execution_views.ExecutionFilter(
        status or (), run_reason or (), workspace_id, without_workspace=without_workspace
    )
    with services.database.connect() as connection:
        found = execution_views.list_executions(connection, principal, conditions, page)
    return answers.execution_page(found, services.links)


@router.get("/{execution_id}", responses=problems(404), summary="Get an execution")
def get_execution(execution_id: ExecutionId, services: ServicesDep, principal: Reader) -> ExecutionDetail:
    """Return one execution. Read from `status`, not from the log, whether and how the execution has ended."""
    with services.database.connect() as connection:
        return answers.execution_detail(execution_views.execution(connection, execution_id, principal), services.links)


@router.get("/{execution_id}/events", responses=problems(404), summary="List an execution's events")
def list_execution_events(execution_id: ExecutionId, services: ServicesDep, principal: Reader) -> EventList:
    """Return all events of the execution, ordered by `sequence` (1..n). After its end, the last event is `terminal`."""
    with services.database.connect() as connection:
        require_execution(connection, execution_id, principal)
        return EventList(items=answers.events(events.of_operation(connection, execution_id)))


@router.post("/{execution_id}/kill", status_code=202, responses=problems(404), summary="Kill an execution")
def kill_execution(execution_id: ActiveExecutionId, services: ServicesDep, principal: Writer) -> ExecutionDetail:
    """Ask to kill the execution with all its processes.

    A queued execution is `killed` at once. A running one becomes `killed` when its last process is gone: watch
    `status`. Asking again, or for an execution that has ended, changes nothing.
    """

    def ask(connection: Connection) -> ExecutionDetail:
        require_execution(connection, execution_id, principal)
        kill(connection, [execution_id], principal.owner)
        view = execution_views.execution(connection, execution_id, principal)
        return answers.execution_detail(view, services.links)

    return services.database.transact(ask)


@router.patch(
    "/{execution_id}/turn", responses=problems(404, body=True), summary="Say whether a person has seen a turn"
)
def change_turn(
    execution_id: ExecutionId, body: TurnChange, services: ServicesDep, principal: Writer
) -> ExecutionDetail:
    """Store whether a person has looked at the turn of an agent. Every new turn begins as one that was not seen."""
    with services.database.begin() as connection:
        require_execution(connection, execution_id, principal)
        conversations.mark_seen(connection, execution_id, seen=body.seen)
        view = execution_views.execution(connection, execution_id, principal)
    return answers.execution_detail(view, services.links)


@router.post(
    "/{execution_id}/retry",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Repeat a failed or killed execution",
)
def retry_execution(
    execution_id: FailedExecutionId,
    services: ServicesDep,
    principal: Writer,
    creating: Creating,
    body: RetryIn | None = None,
) -> JSONResponse:
    """Queue a failed or killed execution again in the same workspace, behind the workspace's queued executions.

    The steps that should have followed it and never ran follow the new execution. The answer is the new execution; its
    `retry_of` is the id of the old execution, which stays unchanged.
    """
    body = body or RetryIn()
    again = body.run_agent_again

    def create(connection: Connection) -> ExecutionDetail:
        require_execution(connection, execution_id, principal)
        new = retry.retry_execution(connection, execution_id, principal.owner, run_agent_again=again)
        view = execution_views.execution(connection, new, principal)
        return answers.execution_detail(view, services.links)

    return creating.answer(principal, body, 202, create)
