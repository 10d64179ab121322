"""Makes the answers of the page: templates with strict escaping, security headers, and errors as HTML."""

import hashlib
import secrets
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from relay_api.http.problems import ApiError
from relay_api.page import words
from relay_api.page.browser import Browser, Elsewhere, known_browser
from relay_core.domain.errors import Conflict, InvalidInput, NotFound, RelayError
from relay_core.store.outage import SQLAlchemyError, is_away

STATIC = "/page/static"
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_STATUSES = ((InvalidInput, 422), (NotFound, 404), (Conflict, 409))

HEADERS = {
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "HX-Request, Cookie",
}


def content_policy(nonce: str) -> str:
    """Return the Content-Security-Policy of an HTML page: only scripts that carry the nonce run."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


@cache
def static_file(name: str) -> bytes | None:
    """Return a file of the folder `static`; None if there is none of that name."""
    folder = files("relay_api.page") / "static"
    known = {entry.name for entry in folder.iterdir()}
    return (folder / name).read_bytes() if name in known and name.rpartition(".")[2] in KINDS else None


@cache
def static_url(name: str) -> str:
    """Return the address of a static file; it changes with the content, so browsers may keep the file."""
    content = static_file(name)
    if content is None:
        raise ValueError(f"there is no static file {name}")
    return f"{STATIC}/{name}?v={hashlib.sha256(content).hexdigest()[:16]}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("relay_api.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static_url
    made.filters |= {
        "age": words.age,
        "took": words.took,
        "usage": words.usage,
        "size": words.size,
        "short": words.short_id,
        "moment": words.moment,
        "plain": words.plain,
        "told": words.told,
        "repo_name": words.repo_name,
    }
    return made


def render(
    template: str,
    values: Mapping[str, Any],
    *,
    browser: Browser | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return a template as an answer.

    Args:
        template: name of the template; every value in it is escaped.
        values: the values.
        browser: the browser that is signed in, whose form token the forms of the template get.
        status: HTTP status.
        headers: further headers.
    """
    nonce = secrets.token_urlsafe(16)
    shared = {"browser": browser, "nonce": nonce, "csrf": browser.form_token if browser else ""}
    text = _environment().get_template(template).render({**shared, **values})
    policy = {"Content-Security-Policy": content_policy(nonce)}
    return HTMLResponse(words.storable(text), status, {**HEADERS, **policy, **(headers or {})})


class PageRoute(APIRoute):
    """A route of the page: its errors are HTML, and a browser that is not signed in is sent to the sign-in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route, with errors turned into answers."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Elsewhere as error:
                return _redirect(request, error.url)
            except (RelayError, HTTPException, RequestValidationError, SQLAlchemyError) as error:
                return _error(request, error)

        return answer


def _redirect(request: Request, url: str) -> Response:
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": url})
    return RedirectResponse(url, 303, headers=HEADERS)


def _error(request: Request, error: Exception) -> Response:
    status, text = _described(error)
    if status >= 500 and not (isinstance(error, SQLAlchemyError) and is_away(error)):
        raise error
    return error_page(request, status, text)


def error_page(request: Request, status: int, text: str) -> Response:
    """Return an error as a page, or for htmx, which shows no errors, as a status without a body."""
    if "hx-request" in request.headers:
        return Response(status_code=status)
    values = {"status": status, "text": text, "path": request.url.path}
    return render("error.html", values, browser=known_browser(request), status=status)


def _described(error: Exception) -> tuple[int, str]:
    match error:
        case ApiError():
            return error.status_code, str(error.detail)
        case HTTPException():
            return error.status_code, "there is nothing here"
        case RequestValidationError():
            return 422, "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()[:5])
        case SQLAlchemyError():
            return 503, "the database does not answer; reload this page in a moment"
    return next((code for kind, code in _STATUSES if isinstance(error, kind)), 500), str(error)
