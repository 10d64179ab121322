"""The HTTP client of `rest`, in a module of its own, which is loaded at the first request."""

import asyncio
from typing import Any, NamedTuple

import httpx

NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, ExceptionGroup)
"""Errors of `ask`: besides those of the network, a URL or a header that no request can have."""


class Answer(NamedTuple):
    """Status, headers and content of an answer. A content with more bytes than were wanted is cut."""

    status_code: int
    headers: httpx.Headers
    content: bytes


def ask(method: str, url: str, seconds: float, most_bytes: int, **more: Any) -> Answer:
    """Send a request and return the answer, of which hardly more than ``most_bytes`` are read.

    Args:
        method: of HTTP.
        url: with the path.
        seconds: time for everything together, from the connection to the last byte of the answer.
        most_bytes: a content with more has at least one more.
        more: for httpx: headers, query, JSON.

    Raises:
        NO_ANSWER: one of these.
    """

    async def limited() -> Answer:
        # The limits of httpx are those of one read; a host that sends byte by byte would never reach them.
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(timeout=seconds, follow_redirects=False) as client,
            client.stream(method, url, **more) as answer,
        ):
            return Answer(answer.status_code, answer.headers, await _read(answer, most_bytes))

    return asyncio.run(limited())


async def _read(answer: httpx.Response, most_bytes: int) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > most_bytes:
            break
    return bytes(content)


def why(error: Exception, seconds: float) -> str:
    """Return an error of `ask` in words that have nothing of the headers, one of which is the token."""
    if isinstance(error, TimeoutError):
        return f"it took more than {seconds:g} s"
    name = type(error).__name__
    quoted = isinstance(error, httpx.HTTPError | httpx.InvalidURL) and not isinstance(error, httpx.LocalProtocolError)
    return f"{name}: {error}" if quoted else name
