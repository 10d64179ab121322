"""The page's answer to a browser that asks for a path which this server does not have."""

from contextlib import suppress

from fastapi import Request
from starlette.responses import Response

from relay_api.http.problems import ApiError
from relay_api.page.browser import Elsewhere, signed_in
from relay_api.page.rendering import error_page
from relay_core.store.outage import SQLAlchemyError

_API = "/v1"


async def unknown_path(request: Request) -> Response | None:
    """Return the error 404 as HTML with the navigation of the page; None if the client is to get it as JSON.

    A browser gets HTML, because only browsers name `text/html` in the header Accept. Paths of the API answer JSON to
    every client.
    """
    path = request.url.path
    if path == _API or path.startswith(f"{_API}/") or "text/html" not in request.headers.get("accept", ""):
        return None
    with suppress(Elsewhere, ApiError, SQLAlchemyError):  # a page for a browser that is not signed in has no navigation
        await signed_in(request)
    return error_page(request, 404, "there is nothing here")
