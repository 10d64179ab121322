"""Request bodies are bounded in bytes, in time and in what they hold, before anything is made of them.

An error for each of 380,000 unknown keys kept the event loop, and with it all other clients, for ten seconds.
"""

import asyncio
import json
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay_api.http.problems import ApiError, problem

MAX_VALUES = 4096
"""Keys and items of a JSON body; the largest sensible request has some hundreds."""
READ_SECONDS = 30.0
"""Seconds for a body to arrive."""

_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A JSON string, or what begins as one and does not end; possessive, so that no input is read twice."""


class BodyLimit:
    """Reads a request's body and refuses one that is too large, too slow, or holds too many values."""

    def __init__(self, app: ASGIApp, max_bytes: int, read_seconds: float = READ_SECONDS) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._read_seconds = read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, or 408, 413 or 422."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except ApiError as error:
            await problem(error.status_code, error.code, error.detail, instance=scope["path"])(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replayed(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        said = headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said[:20]) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_seconds):
                while (message := await receive())["type"] == "http.request":
                    body += message.get("body", b"")
                    if len(body) > self._max_bytes:
                        raise self._too_large()
                    if not message.get("more_body"):
                        break
                else:
                    return None
        except TimeoutError as error:
            detail = f"the request's body did not arrive within {self._read_seconds:g} s"
            raise ApiError(408, "request_timeout", detail) from error
        whole = bytes(body)
        if len(whole) > MAX_VALUES and count_values(whole) > MAX_VALUES:
            detail = f"a request body has at most {MAX_VALUES} keys and items here"
            raise ApiError(422, "body_too_complex", detail)
        return whole

    def _too_large(self) -> ApiError:
        detail = f"a request body has at most {self._max_bytes} bytes here (RELAY_API_MAX_BODY_BYTES)"
        return ApiError(413, "body_too_large", detail)


def count_values(body: bytes) -> int:
    """About how many keys and items a JSON text has, without making them; never less. Linear in its length."""
    bare = _TEXT.sub(b"", _utf8(body))
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def _utf8(body: bytes) -> bytes:
    """A JSON text that `json.loads` would read as UTF-16 or UTF-32, in which a byte like a quote need not be one."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body  # it is no JSON, and refused without being read further


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes (that the client has gone)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
