"""HEAD for every path that has GET, except event streams, which have no end."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STREAM = "/stream"
"""End of the paths of event streams."""


class Head:
    """Middleware that answers HEAD as GET would be answered, without the body. Ranges are for GET only (RFC 9110)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with GET, send the head of its answer, and stop it before it makes a body."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith(STREAM):
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in (b"range", b"if-range")]

        async def head_only(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                await send({"type": "http.response.body", "body": b""})
                raise _HeadSent

        try:
            await self._app({**scope, "method": "GET", "headers": headers}, receive, head_only)
        except _HeadSent:
            return


class _HeadSent(Exception):  # noqa: N818 - no error: it ends the making of a body that is not sent
    """The head of the answer was sent."""
