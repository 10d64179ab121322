"""Server-sent events: frames, heartbeats, and an end that makes the client come again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import StreamingResponse

from relay_core.settings import Settings

log = structlog.get_logger(__name__)

HEARTBEAT = b": still here\n\n"
"""A comment: keeps proxies from closing, and tells this side when the client is gone."""


def frame(data: Mapping[str, Any], *, event: str | None = None, last_id: str | None = None) -> bytes:
    """One event; JSON has no line breaks, so `data` is one line."""
    lines = [f"id: {last_id}"] if last_id is not None else []
    lines += [f"event: {event}"] if event else []
    lines.append("data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=True, default=str))
    return ("\n".join(lines) + "\n\n").encode()


def response(frames: AsyncIterator[bytes], settings: Settings) -> StreamingResponse:
    """An answer that streams frames with heartbeats in between, for a bounded time."""
    body = with_heartbeats(frames, settings.api_sse_heartbeat_seconds, settings.api_sse_max_seconds)
    # X-Accel-Buffering: nginx would hold events back.
    return StreamingResponse(body, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


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
