"""Server-sent events: encode events, send heartbeats, close a stream after a maximum time (the client reconnects)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import structlog
from starlette.responses import StreamingResponse

from relay_api.services import Services
from relay_api.streaming.open_streams import CountedStream
from relay_core.store.outage import SQLAlchemyError
from relay_core.store.tokens import Principal

log = structlog.get_logger(__name__)

HEARTBEAT = b": still here\n\n"
"""A comment that keeps proxies from closing a silent connection, and reveals a closed connection to this server."""


def frame(data: Mapping[str, Any], *, event: str | None = None, last_id: str | None = None) -> bytes:
    """Return one event as bytes, with ``data`` as one line of JSON.

    Args:
        data: the data of the event.
        event: name of the event; None sends no name, so clients use `message`.
        last_id: id of the event, which a client sends as `Last-Event-ID` to continue after it. None sends no id.
    """
    lines = [f"id: {last_id}"] if last_id is not None else []
    lines += [f"event: {event}"] if event else []
    lines.append("data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=True, default=str))
    return ("\n".join(lines) + "\n\n").encode()


def response(frames: AsyncIterator[bytes], services: Services, principal: Principal) -> StreamingResponse:
    """Return an answer that streams events and heartbeats for a limited time; 429 if too many streams are open.

    Args:
        frames: the encoded events.
        services: services of the application.
        principal: owner of the request's token, whose open streams are limited.
    """
    settings = services.settings
    body = with_heartbeats(frames, settings.api_sse_heartbeat_seconds, settings.api_sse_max_seconds)
    return CountedStream(body, services.streams, principal.token_id or principal.owner, "text/event-stream")


async def with_heartbeats(
    frames: AsyncIterator[bytes], silence_seconds: float, max_seconds: float
) -> AsyncIterator[bytes]:
    """Yield the events and heartbeats in between; end after ``max_seconds`` or when the database does not answer.

    Args:
        frames: the encoded events.
        silence_seconds: seconds without an event after which a heartbeat is sent.
        max_seconds: seconds after which the stream ends.
    """
    ends = time.monotonic() + max_seconds
    source = aiter(frames)
    pending: asyncio.Future[bytes] | None = None
    try:
        yield HEARTBEAT  # makes the headers reach the client now, not only with the first event
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
                # Without an `end` event the client reconnects with the last id that it has.
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
