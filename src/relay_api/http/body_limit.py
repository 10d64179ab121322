"""Limit request bodies in bytes, arrival time and number of values, before they are parsed.

The number of values is limited because a body with 380,000 unknown keys once gave an error for each key, which blocked
the event loop, and all other clients, for ten seconds.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay_api.http.problems import ApiError, problem

MAX_VALUES = 4096
"""Most keys and items of a JSON body together; the largest sensible request has a few hundred."""
MOST_LARGER = 8
"""Most bodies at once that are larger than most may be: they are in memory before their routes see them."""
READ_SECONDS = 30.0
"""Seconds within which a whole body must arrive."""

Admit = Callable[[Scope], Awaitable[None]]
"""Raises an `ApiError` if the client of a request may not send a larger body."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""Matches a JSON string, complete or cut off by the end of the text. Possessive quantifiers keep it linear in time."""


class BodyLimit:
    """Middleware that reads the body of a request and refuses a body that is too large, too slow or too complex.

    Args:
        app: the application to call with an accepted request.
        max_bytes: largest body in bytes.
        larger: largest body in bytes of the methods and paths that take larger ones; `MOST_LARGER` at once.
        read_seconds: seconds within which a whole body must arrive.
        admit: called before a byte of a body is read that may be a larger one; None: every client may send it.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        read_seconds: float = READ_SECONDS,
        larger: Mapping[tuple[str, str], int] | None = None,
        admit: Admit | None = None,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger or {}
        self._read_seconds = read_seconds
        self._admit = admit
        self._larger_at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or answer 408 (body too slow), 413 (too large), 422 (too many values), 503 (later)."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        most = self._larger.get((scope["method"], scope["path"]), self._max_bytes)
        with ExitStack() as held:
            try:
                if self._admit is not None and most > self._max_bytes:
                    await self._admit(scope)
                body = await self._read(Headers(scope=scope), receive, most, held)
            except ApiError as error:
                answer = problem(
                    error.status_code, error.code, error.detail, headers=error.headers, instance=scope["path"]
                )
                await answer(scope, receive, send)
                return
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)

    @contextmanager
    def _larger_one(self) -> Iterator[None]:
        """Count a body that is larger than most may be."""
        if self._larger_at_once >= MOST_LARGER:
            detail = f"{MOST_LARGER} large bodies are handled already; send it again in a few seconds"
            raise ApiError(503, "busy", detail, {"Retry-After": "5"})
        self._larger_at_once += 1
        try:
            yield
        finally:
            self._larger_at_once -= 1

    async def _read(self, headers: Headers, receive: Receive, most: int, held: ExitStack) -> bytes | None:
        """Return the whole body; None if the client disconnected.

        Args:
            headers: of the request.
            receive: gives the body.
            most: largest body in bytes.
            held: counts the body until the request is answered, if it is a larger one.

        Raises:
            ApiError: 408, 413, 422 or 503: the body is too slow, too large, has too many values, or is a larger one
                besides too many others.
        """
        said = headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said[:20]) > most:
            raise _too_large(most)
        body, counted = bytearray(), False
        try:
            async with asyncio.timeout(self._read_seconds):
                while (message := await receive())["type"] == "http.request":
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_large(most)
                    if len(body) > self._max_bytes and not counted:
                        held.enter_context(self._larger_one())
                        counted = True
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


def _too_large(most: int) -> ApiError:
    detail = f"a request body has at most {most} bytes here (RELAY_API_MAX_BODY_BYTES, of images RELAY_IMAGE_MAX_BYTES)"
    return ApiError(413, "body_too_large", detail)


def count_values(body: bytes) -> int:
    """Return an upper bound of the number of keys and items in a JSON text, without parsing it.

    The time is linear in the length of the text.
    """
    bare = _TEXT.sub(b"", _utf8(body))
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def _utf8(body: bytes) -> bytes:
    """Return a JSON text as UTF-8. If it cannot be decoded, return it unchanged: it is not JSON.

    `json.loads` also accepts UTF-16 and UTF-32, in which a byte with the value of a quote need not be a quote.
    """
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body  # not JSON: the application refuses it


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` callable: its first call gives the whole body, later calls go to ``receive``.

    The later calls report that the client has disconnected.
    """
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
