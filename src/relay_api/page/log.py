"""Routes of a step's log: the window that shows it, its bytes by ranges, and the stream that follows it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from relay_api.dependencies import ServicesDep
from relay_api.http.ranged import ranged_answer
from relay_api.page.browser import SignedIn
from relay_api.page.rendering import PageRoute, render
from relay_api.page.runs import load_run
from relay_api.page.steps import flower_link
from relay_api.schemas.patterns import CURSOR
from relay_api.streaming import log_frames, sse
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.stream_info import StreamInfo, stream_infos
from relay_core.store.views import execution_views
from relay_core.store.views.access import require_execution

router = APIRouter(prefix="/executions/{execution_id}", include_in_schema=False, route_class=PageRoute)

SANDBOX = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""Policy of answers that an agent wrote: a browser runs no script in them, and gives them an origin of their own."""


@router.get("")
def show_log(
    request: Request, execution_id: UUID, services: ServicesDep, browser: SignedIn, stream: Stream = Stream.ALL
) -> Response:
    """Return the page of a log, within its run if it has one."""
    with services.database.connect() as connection:
        step = execution_views.execution(connection, execution_id, browser.principal)
        log = stream_infos(connection, [execution_id]).get((execution_id, stream), StreamInfo())
        of_run = load_run(connection, services, browser.principal, step["run_id"]) if step.get("run_id") else None
    settings = services.settings
    values = {
        "layout": "run_base.html" if of_run else "base.html",
        "run": of_run.run if of_run else None,
        "steps": of_run.steps if of_run else [],
        "tab": "log",
        "here": request.url.path,
        "step": step,
        "stream": stream,
        "log": log._replace(closed=log.closed or step["status"].final),
        "flower": flower_link(settings.flower_url, execution_id, step["attempt"]),
    }
    return render("log.html", values, browser=browser)


@router.get("/raw")
def read_log(
    execution_id: UUID,
    services: ServicesDep,
    browser: SignedIn,
    stream: Stream = Stream.ALL,
    range: Annotated[str | None, Header()] = None,  # noqa: A002 - the header's name
) -> Response:
    """Return the bytes of a log, or one range of them, as `GET /v1/executions/{id}/logs` does."""
    with services.database.connect() as connection:
        require_execution(connection, execution_id, browser.principal)
        size = stream_infos(connection, [execution_id]).get((execution_id, stream), StreamInfo()).bytes
    services.logs.require_bytes(execution_id, stream)
    answer = ranged_answer(range, size)
    headers = answer.headers | {
        "Content-Security-Policy": SANDBOX,
        "Content-Disposition": f'inline; filename="{execution_id}.{stream}.log"',
    }
    body = services.logs.iter_range(execution_id, stream, answer.span.start, answer.span.end)
    return StreamingResponse(body, answer.status, headers, media_type="text/plain; charset=utf-8")


@router.get("/stream")
async def follow_log(
    execution_id: UUID,
    services: ServicesDep,
    browser: SignedIn,
    stream: Stream = Stream.ALL,
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
    last_event_id: Annotated[str | None, Header(pattern=CURSOR)] = None,
) -> Response:
    """Stream a log as `GET /v1/executions/{id}/logs/stream` does."""

    def allowed() -> None:
        with services.database.connect() as connection:
            require_execution(connection, execution_id, browser.principal)
        services.logs.require_bytes(execution_id, stream)

    await run_in_threadpool(allowed)
    start = int(last_event_id) if last_event_id is not None else offset
    frames = log_frames.follow(services, log_frames.FollowedLog(execution_id, stream, start, "b64"))
    return sse.response(frames, services, browser.principal)
