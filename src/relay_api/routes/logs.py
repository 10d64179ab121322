"""Routes of logs: the exact bytes, whole or in ranges, and live event streams."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.ranged import ranged_answer
from relay_api.http.responses import problems, raw
from relay_api.ids import ExecutionId
from relay_api.schemas.patterns import CURSOR
from relay_api.streaming import log_frames, plain, sse
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.stream_info import StreamInfo, stream_infos
from relay_core.store.views.access import require_execution

router = APIRouter(prefix="/v1/executions/{execution_id}/logs", tags=["logs"])

StreamName = Annotated[
    Stream, Query(description="`all`: both streams in the order in which they were stored; its offsets are its own.")
]
RangeHeader = Annotated[str | None, Header(description="One range of bytes.", examples=["bytes=0-1023"])]
_BYTES = "application/octet-stream"


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        **problems(404, 410, 416),
        200: raw("The bytes stored so far.", _BYTES),
        206: raw("The range of them.", _BYTES),
    },
    summary="Download a log",
)
def download_log(
    execution_id: ExecutionId,
    services: ServicesDep,
    principal: Reader,
    stream: StreamName = Stream.ALL,
    range: RangeHeader = None,  # noqa: A002 - the header's name
    if_range: Annotated[str | None, Header()] = None,
    *,
    follow: Annotated[
        bool, Query(description="Go on until the log is complete, as plain bytes (for `curl -N`); no ranges.")
    ] = False,
) -> Response:
    """Return the exact bytes that the process wrote, with secrets masked; of a running process, those stored so far.

    The bytes of a log that was removed (`logs` of the execution has `removed_at`) are answered with 410 `log_removed`.
    Once the log is complete, the header `ETag` is the sha256 of the stream. With `follow` the answer ends when the log
    is complete; if the server cannot go on, the connection breaks off.
    """
    if follow:
        with services.database.connect() as connection:
            require_execution(connection, execution_id, principal)
        services.logs.require_bytes(execution_id, stream)
        return plain.response(plain.follow_execution(services, execution_id, stream), services, principal)
    with services.database.connect() as connection:
        require_execution(connection, execution_id, principal)
        log = stream_infos(connection, [execution_id]).get((execution_id, stream), StreamInfo())
    if log.removed_at is not None:
        services.logs.require_bytes(execution_id, stream)
    size = log.bytes
    etag = f'"{log.sha256}"' if log.closed and log.sha256 else None
    wanted = range if if_range is None or if_range == etag else None
    answer = ranged_answer(wanted, size)
    headers = answer.headers | {"Content-Disposition": f'attachment; filename="{execution_id}.{stream}.log"'}
    headers |= {"ETag": etag} if etag else {}
    body = services.logs.iter_range(execution_id, stream, answer.span.start, answer.span.end)
    return StreamingResponse(body, answer.status, headers, media_type=_BYTES)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={**problems(404, 410), 200: raw("Pieces of the log.", "text/event-stream")},
    summary="Follow a log",
)
async def stream_log(
    execution_id: ExecutionId,
    services: ServicesDep,
    principal: Reader,
    stream: StreamName = Stream.ALL,
    offset: Annotated[
        int, Query(ge=0, le=2**62, description="Offset at which to begin, where `Last-Event-ID` is not sent.")
    ] = 0,
    view: Annotated[
        log_frames.View, Query(description="`utf8`: text for people; bytes that are no UTF-8 are replaced.")
    ] = "b64",
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=CURSOR,
            description="Id of the last event that the client has; it is the offset after that event.",
        ),
    ] = None,
) -> StreamingResponse:
    """Stream the stored log from the offset on, then new bytes as they are written.

    The data of each event are `{"stream","offset","b64"}`, in the view `utf8` with `text` instead of `b64`; the id of
    an event is the offset after its bytes. When the log is complete, `event: end` says how the execution ended. If a
    stream ends without `event: end`, the connection broke: connect again with `Last-Event-ID`.
    """

    def allowed() -> None:
        with services.database.connect() as connection:
            require_execution(connection, execution_id, principal)
        services.logs.require_bytes(execution_id, stream)

    await run_in_threadpool(allowed)
    start = int(last_event_id) if last_event_id is not None else offset
    frames = log_frames.follow(services, log_frames.FollowedLog(execution_id, stream, start, view))
    return sse.response(frames, services, principal)
