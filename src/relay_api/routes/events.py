"""Routes of events: as lists, and as event streams that a client can resume."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from relay_api.dependencies import Admin, Reader, ServicesDep
from relay_api.http.responses import problems, raw
from relay_api.ids import ProjectId, WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.executions import EventList, EventOut, GlobalEventList, WorkspaceEventList
from relay_api.schemas.patterns import CURSOR, GLOBAL_CURSOR, GLOBAL_START, NODE, NOW
from relay_api.services import Services
from relay_api.streaming import sse
from relay_core.domain.errors import NotFound
from relay_core.store import events, global_events
from relay_core.store.events import EventRow
from relay_core.store.global_events import GlobalPage
from relay_core.store.projects import projects
from relay_core.store.transaction import Database
from relay_core.store.views.access import require_workspace

router = APIRouter(prefix="/v1", tags=["events"])

PAGE = 500
MAX_CURSOR = 2**62

NodeId = Annotated[str, Path(max_length=200, pattern=NODE)]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="Most events on a page.")]
After = Annotated[int, Query(ge=0, le=MAX_CURSOR, description="Cursor of the last event that the client has.")]
GlobalAfter = Annotated[
    str,
    Query(
        pattern=GLOBAL_START,
        description="Where to begin: `next_after` of a list, or the id of an event in a stream. `0`: at the oldest "
        "event. `now`: at what happens from now on; a list is empty then, and tells the cursor of now as `next_after`.",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(pattern=CURSOR, description="Id of the last event that the client has; the stream begins after it."),
]
GlobalLastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=GLOBAL_CURSOR,
        description="Id of the last event that the client has; the stream begins after it.",
    ),
]
_STREAM: dict[int | str, Any] = {200: raw("Events; the id of each is its cursor.", "text/event-stream")}


@router.get("/workspaces/{workspace_id}/events", responses=problems(404), summary="List a workspace's events")
def list_workspace_events(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Reader, after: After = 0, limit: Limit = PAGE
) -> WorkspaceEventList:
    """Return the events after a cursor, in order and without gaps. This also works for a deleted workspace."""
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal, deleted_too=True)
        rows = events.of_workspace(connection, workspace_id, after, limit)
    return WorkspaceEventList(items=answers.events(rows), next_after=rows[-1].cursor if rows else after)


@router.get(
    "/workspaces/{workspace_id}/events/stream",
    response_class=StreamingResponse,
    responses={**problems(404), **_STREAM},
    summary="Follow a workspace's events",
)
async def stream_workspace_events(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Reader,
    after: After = 0,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Stream all events after the cursor, then each event as it happens.

    To resume after a broken connection, send the id of the last event as `Last-Event-ID`.
    """

    def allowed() -> None:
        with services.database.connect() as connection:
            require_workspace(connection, workspace_id, principal, deleted_too=True)

    await run_in_threadpool(allowed)
    start = int(last_event_id) if last_event_id is not None else after
    return sse.response(_workspace_frames(services, workspace_id, start), services, principal)


@router.get("/events", responses=problems(), summary="List all events")
def list_events(
    services: ServicesDep, principal: Reader, after: GlobalAfter = "0", limit: Limit = PAGE
) -> GlobalEventList:
    """Return events of all workspaces and other subjects after a cursor.

    Events that become visible later always come after the cursor. Events of projects and credentials are shown to their
    owner, those of nodes and orphan containers to the scope `admin`.
    """
    database = services.database
    if after == NOW:
        return GlobalEventList(items=[], next_after=str(global_events.newest(database)))
    page = global_events.page(database, _position(database, after), limit, principal.only)
    return GlobalEventList(items=answers.events(page.events), next_after=str(page.cursor))


@router.get(
    "/events/stream",
    response_class=StreamingResponse,
    responses={**problems(), **_STREAM},
    summary="Follow all events",
)
async def stream_events(
    services: ServicesDep, principal: Reader, after: GlobalAfter = "0", last_event_id: GlobalLastEventId = None
) -> StreamingResponse:
    """Stream all events after the cursor, then each event as it happens.

    Without `after` and `Last-Event-ID` the stream begins at the oldest event. With `after=now` it begins at the moment
    of the request and sends only events that happen later.

    To resume after a broken connection, send the id of the last event as `Last-Event-ID`.
    """
    start = await run_in_threadpool(_position, services.database, last_event_id or after)
    return sse.response(_global_frames(services, start, principal.only), services, principal)


@router.get("/projects/{project_id}/events", responses=problems(404), summary="List a project's events")
def list_project_events(
    project_id: ProjectId, services: ServicesDep, principal: Reader, after: After = 0, limit: Limit = PAGE
) -> WorkspaceEventList:
    """Return the events about the project itself after a cursor, in order; those of its workspaces are not among them.

    This also works for a deleted project.
    """
    with services.database.connect() as connection:
        projects.require(connection, project_id, principal)
    return _of_subject(services.database, partial(events.of_project, project_id=project_id), after, limit)


@router.get("/nodes/{node_id}/events", responses=problems(), summary="List a node's events")
def list_node_events(
    node_id: NodeId,
    services: ServicesDep,
    principal: Admin,  # noqa: ARG001 - asks for the scope
    after: After = 0,
    limit: Limit = PAGE,
) -> WorkspaceEventList:
    """Return the events about the node after a cursor, in order. Needs the scope `admin`."""
    return _of_subject(services.database, partial(events.of_node, node_id=node_id), after, limit)


@router.get("/operations/{operation_id}/events", responses=problems(404), summary="List an operation's events")
def list_operation_events(operation_id: UUID, services: ServicesDep, principal: Reader) -> EventList:
    """Return all events of an operation, by sequence: of an execution, or of another act with an outcome."""
    with services.database.connect() as connection:
        rows = events.of_operation(connection, operation_id, principal.only)
    if not rows:
        raise NotFound(f"there is no operation {operation_id}")
    return EventList(items=answers.events(rows))


def _of_subject(database: Database, read: Callable[..., list[EventRow]], after: int, limit: int) -> WorkspaceEventList:
    global_events.give_positions(database)
    with database.connect() as connection:
        rows = read(connection, after=after, limit=limit)
    last = rows[-1].position if rows else None
    return WorkspaceEventList(items=answers.events(rows), next_after=last or after)


async def _workspace_frames(services: Services, workspace_id: UUID, after: int) -> AsyncIterator[bytes]:
    def page() -> list[EventOut]:
        with services.database.connect() as connection:
            return answers.events(events.of_workspace(connection, workspace_id, after, PAGE))

    while True:
        rows = await run_in_threadpool(page)
        for row in rows:
            yield sse.frame(row.model_dump(mode="json"), last_id=str(row.cursor))
            after = row.cursor or after
        if len(rows) < PAGE:
            await services.events.wait_workspace(workspace_id, after)


async def _global_frames(services: Services, after: int, owner: str | None) -> AsyncIterator[bytes]:
    def page() -> GlobalPage:
        return global_events.page(services.database, after, PAGE, owner)

    seen = after
    while True:
        found = await run_in_threadpool(page)
        for row, shown in zip(found.events, answers.events(found.events), strict=True):
            yield sse.frame(shown.model_dump(mode="json"), last_id=str(row.position))
        after = found.cursor
        if len(found.events) < PAGE:
            # An event of another owner wakes this reader only once, because `seen` moves past the event.
            seen = await services.events.wait_any(max(seen, after))


def _position(database: Database, cursor: str) -> int:
    """Return the position that a cursor names."""
    if cursor == NOW:
        return global_events.newest(database)
    _, old, number = cursor.rpartition("-")
    return global_events.position_of(database, int(number)) if old else int(number)
