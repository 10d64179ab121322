"""Routes of what belongs to a run: its executions, events and logs."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from relay_api.dependencies import Paging, Reader, ServicesDep
from relay_api.http.responses import problems, raw
from relay_api.ids import RunId
from relay_api.routes.events import PAGE, After, LastEventId, Limit
from relay_api.schemas import answers
from relay_api.schemas.executions import ExecutionPage, WorkspaceEventList
from relay_api.services import Services
from relay_api.streaming import plain, sse
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views, run_steps, run_views
from relay_core.store.views.access import require_run

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["runs"])


@router.get("/executions", responses=problems(404), summary="List a run's executions")
def list_run_executions(run_id: RunId, services: ServicesDep, principal: Reader, page: Paging) -> ExecutionPage:
    """List the executions of the run in the order of their creation, retries included."""
    with services.database.connect() as connection:
        require_run(connection, run_id, principal)
        found = execution_views.run_executions(connection, run_id, principal, page)
    return answers.execution_page(found, services.links)


@router.get("/events", responses=problems(404), summary="List a run's events")
def list_run_events(
    run_id: RunId, services: ServicesDep, principal: Reader, after: After = 0, limit: Limit = PAGE
) -> WorkspaceEventList:
    """Return the events of the run's executions after a cursor of its workspace, in order."""
    with services.database.connect() as connection:
        require_run(connection, run_id, principal)
        found = run_steps.events_of(connection, run_id, after, limit)
    return WorkspaceEventList(items=answers.events(found.events), next_after=found.cursor)


@router.get(
    "/events/stream",
    response_class=StreamingResponse,
    responses={**problems(404), 200: raw("Events; the id of each is its cursor.", "text/event-stream")},
    summary="Follow a run's events",
)
async def stream_run_events(
    run_id: RunId, services: ServicesDep, principal: Reader, after: After = 0, last_event_id: LastEventId = None
) -> StreamingResponse:
    """Stream the events of the run's executions. When the run is completed, `event: end` says how it ended.

    If a stream ends without `event: end`, the connection broke: connect again with `Last-Event-ID`.
    """
    await run_in_threadpool(_require, services, run_id, principal)
    start = int(last_event_id) if last_event_id is not None else after
    return sse.response(_event_frames(services, run_id, principal, start), services, principal)


@router.get(
    "/logs",
    response_class=StreamingResponse,
    responses={**problems(404, 410), 200: raw("The bytes of all steps.", plain.BYTES)},
    summary="Download or follow the log of a run",
)
def download_run_log(
    run_id: RunId,
    services: ServicesDep,
    principal: Reader,
    *,
    markers: Annotated[
        bool, Query(description="Write a line `--- RUN_REASON REPO` before the log of each step.")
    ] = True,
    follow: Annotated[
        bool, Query(description="Go on until the run is completed, as plain bytes (for `curl -N`).")
    ] = False,
) -> StreamingResponse:
    """Return the logs of all steps of the run, one after the other, with secrets masked.

    With `follow` and markers, the logs of setup scripts that run at the same time are shown side by side: each line
    begins with the name of its repository, `app | `. The exact bytes of one step are at
    `/v1/executions/{execution_id}/logs`.

    In place of a log that was removed because of its age or size, a line says so; without markers the answer is 410.
    With `follow` the answer ends when the run is completed; if the server cannot go on, the connection breaks off.
    """
    with services.database.connect() as connection:
        require_run(connection, run_id, principal)
        progress = run_steps.progress_of(connection, run_id)
    marked = plain.Markers(markers)
    if not markers:
        plain.refuse_removed(services, progress)
    if follow:
        return plain.response(plain.follow_run(services, run_id, marked), services, principal)
    return StreamingResponse(plain.stored_run(services, progress, marked), media_type=plain.BYTES)


def _require(services: Services, run_id: UUID, principal: Principal) -> None:
    with services.database.connect() as connection:
        require_run(connection, run_id, principal)


async def _event_frames(services: Services, run_id: UUID, principal: Principal, after: int) -> AsyncIterator[bytes]:
    def page() -> run_steps.RunEvents:
        with services.database.connect() as connection:
            return run_steps.events_of(connection, run_id, after, PAGE)

    def ending() -> dict[str, Any]:
        with services.database.connect() as connection:
            view = run_views.run(connection, run_id, principal)
        return {name: view[name] for name in ("id", "status", "conclusion", "reason", "message", "exit_code")}

    while True:
        found = await run_in_threadpool(page)
        for row, shown in zip(found.events, answers.events(found.events), strict=True):
            yield sse.frame(shown.model_dump(mode="json"), last_id=str(row.cursor))
        after = found.cursor
        if found.last:
            yield sse.frame(await run_in_threadpool(ending), event="end", last_id=str(after))
            return
        if len(found.events) < PAGE:
            await services.events.wait_workspace(found.workspace_id, after)
