"""Server-sent events: frames, heartbeats, and an end after which the client connects again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from relay_api.http.problems import ApiError, problem
from relay_api.services import Services
from relay_api.streaming.open_streams import Streams
from relay_core.store.outage import SQLAlchemyError
from relay_core.store.tokens import Principal

log = structlog.get_logger(__name__)

HEARTBEAT = b": still here\n\n"
"""A comment that keeps proxies from closing the connection and makes a closed one fail on this side."""


def frame(data: Mapping[str, Any], *, event: str | None = None, last_id: str | None = None) -> bytes:
    """One event; JSON has no line breaks, so `data` is one line."""
    lines = [f"id: {last_id}"] if last_id is not None else []
    lines += [f"event: {event}"] if event else []
    lines.append("data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=True, default=str))
    return ("\n".join(lines) + "\n\n").encode()


def response(frames: AsyncIterator[bytes], services: Services, principal: Principal) -> StreamingResponse:
    """An answer that streams frames with heartbeats in between, for a bounded time; 429 where there are too many."""
    settings = services.settings
    body = with_heartbeats(frames, settings.api_sse_heartbeat_seconds, settings.api_sse_max_seconds)
    return _EventStream(body, services.streams, principal.token_id or principal.owner)


class _EventStream(StreamingResponse):
    """An event stream that counts as open while it is sent, however that ends (also when the client stops reading)."""

    def __init__(self, body: AsyncIterator[bytes], streams: Streams, token: Hashable) -> None:
        # X-Accel-Buffering: nginx would hold events back.
        super().__init__(body, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._streams = streams
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or the problem."""
        try:
            with self._streams.one(self._token):
                await super().__call__(scope, receive, send)
        except ApiError as error:
            refusal = problem(
                error.status_code, error.code, error.detail, headers=error.headers, instance=scope["path"]
            )
            await refusal(scope, receive, send)


async def with_heartbeats(
    frames: AsyncIterator[bytes], silence_seconds: float, max_seconds: float
) -> AsyncIterator[bytes]:
    """The frames, a comment whenever nothing came for a while, and the end after ``max_seconds``."""
    ends = time.monotonic() + max_seconds
    source = aiter(frames)
    pending: asyncio.Future[bytes] | None = None
    try:
        yield HEARTBEAT  # the headers reach the client now, not with the first event
        while (left := ends - time.monotonic()) > 0:
            pending = pending or asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait({pending}, timeout=min(silence_seconds, left))
            if not done:
                yield HEARTBEAT
                continue
            finished, pending = pending, None
            try:
                chunk = finished.result()
            except StopAsyncIteration:
                return
            except SQLAlchemyError as error:
                # No `end` event: the client comes again at the last id it has.
                log.warning("a stream broke off; the database does not answer", error=str(error).splitlines()[0])
                return
            yield chunk
    finally:
        if pending is not None:
            pending.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await pending
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()
