"""Middleware of all requests: allowed Host names, security headers, metrics."""

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay_api.http.headers import SECURITY_HEADERS
from relay_api.http.problems import problem
from relay_api.metrics import Metrics


class HostAllowList:
    """Refuses requests whose Host is not a name of this server, which stops DNS rebinding."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = [name.lower() for name in allowed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application if the Host is allowed, else answer 421."""
        if scope["type"] == "http" and not self._allows(Headers(scope=scope).get("host", "")):
            detail = "this server does not answer to that Host; RELAY_API_ALLOWED_HOSTS lists its names"
            await problem(421, "host_not_allowed", detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, host: str) -> bool:
        name = host_name(host)
        return any(fnmatchcase(name, pattern) if pattern != name else True for pattern in self._allowed)


def host_name(host: str) -> str:
    """Return the host name in a Host header, in lower case and without port; an IPv6 address keeps its brackets."""
    host = host.lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].removesuffix(".")


class SecurityHeaders:
    """Adds to each answer the security headers that it does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application and add the missing security headers to its answer."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, completed if scope["type"] == "http" else send)


class Counting:
    """Measures answers: counts them by route, method and status, and records the seconds until they begin."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application and record the time until its answer begins; a stream's end depends on its reader."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The route's pattern, not the path: each id in a path would create another time series.
                route = getattr(scope.get("route"), "path", "unknown")
                self._metrics.observe(scope["method"], route, message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, observed)
