"""Routes of agents' conversations: as lists, and as event streams that a client can resume."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.responses import problems, raw
from relay_api.ids import ExecutionId
from relay_api.schemas.conversations import ConversationPage, EntryOut
from relay_api.schemas.patterns import CURSOR
from relay_api.services import Services
from relay_api.streaming import sse
from relay_core.store.executions import conversations
from relay_core.store.executions.conversations import EntryRow, Progress
from relay_core.store.views.access import require_execution

router = APIRouter(prefix="/v1/executions/{execution_id}/conversation", tags=["conversations"])

PAGE = 200
MAX_CURSOR = 2**53


@router.get("", responses=problems(404), summary="Read a conversation")
def read_conversation(
    execution_id: ExecutionId,
    services: ServicesDep,
    principal: Reader,
    after: Annotated[int, Query(ge=-1, le=MAX_CURSOR, description="`next_after` of the page before.")] = -1,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Most entries on a page.")] = PAGE,
) -> ConversationPage:
    """Return the entries of a coding agent's turn in order, each in its present state.

    The list is empty for executions that are not turns of a coding agent.
    """
    with services.database.connect() as connection:
        require_execution(connection, execution_id, principal)
        rows = conversations.in_order(connection, execution_id, after, limit)
    return ConversationPage(items=[_entry(row) for row in rows], next_after=rows[-1].entry if rows else None)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={**problems(404), 200: raw("Entries; the id of each is its `sequence`.", "text/event-stream")},
    summary="Follow a conversation",
)
async def stream_conversation(
    execution_id: ExecutionId,
    services: ServicesDep,
    principal: Reader,
    after: Annotated[
        int, Query(ge=0, le=MAX_CURSOR, description="Sequence after which to begin, where `Last-Event-ID` is not sent.")
    ] = 0,
    last_event_id: Annotated[
        str | None, Header(pattern=CURSOR, description="Id of the last event that the client has.")
    ] = None,
) -> StreamingResponse:
    """Stream every entry that changed after the cursor, then each entry as it changes. Each event has the whole entry.

    When the execution has ended, `event: end` follows the last entry. If a stream ends without `event: end`, the
    connection broke: connect again with `Last-Event-ID`.
    """

    def allowed() -> None:
        with services.database.connect() as connection:
            require_execution(connection, execution_id, principal)

    await run_in_threadpool(allowed)
    start = int(last_event_id) if last_event_id is not None else after
    return sse.response(_frames(services, execution_id, start), services, principal)


async def _frames(services: Services, execution_id: UUID, after: int) -> AsyncIterator[bytes]:
    def page() -> tuple[list[EntryRow], Progress]:
        with services.database.connect() as connection:
            # Completeness is read before the entries: if it is complete, no entry can be added between the two reads.
            progress = conversations.progress(connection, [execution_id])[execution_id]
            return conversations.changed(connection, execution_id, after, PAGE), progress

    while True:
        rows, progress = await run_in_threadpool(page)
        for row in rows:
            yield sse.frame(_entry(row).model_dump(mode="json"), last_id=str(row.sequence))
            after = row.sequence
        if len(rows) == PAGE:
            continue
        if progress.complete:
            yield sse.frame({"sequence": after}, event="end", last_id=str(after))
            return
        # A client may send a cursor beyond the newest change; it must still be woken when the conversation ends.
        await services.conversations.wait(execution_id, after if rows else min(after, progress.sequence))


def _entry(row: EntryRow) -> EntryOut:
    return EntryOut(entry=row.entry, sequence=row.sequence, kind=row.kind, created_at=row.created_at, **row.content)
