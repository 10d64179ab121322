"""Routes of the sign-in: by a token, or by a one-time code that a client with a token asked for."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.middleware import host_name
from relay_api.http.problems import ApiError
from relay_api.http.responses import problems
from relay_api.page import browser
from relay_api.page.rendering import HEADERS, PageRoute, render
from relay_api.schemas.common import Output
from relay_api.services import Services, services
from relay_core.store import page_sessions, tokens

api_router = APIRouter(prefix="/v1", tags=["admin"])
router = APIRouter(include_in_schema=False, route_class=PageRoute)

BEFORE_SECONDS = 3600
"""Seconds after which a sign-in form that was not sent is too old."""
LONGEST_SECRET = 200
Next = Annotated[str, Query(max_length=2000)]


class SignInCodeOut(Output):
    """A one-time code that signs a browser in on the page."""

    code: str
    url: str = Field(description="Address of the page that uses the code; the code is in its fragment.")
    expires_at: datetime


@api_router.post("/sign-in-codes", status_code=201, responses=problems(), summary="Make a link that signs in once")
def create_sign_in_code(
    request: Request,
    services: ServicesDep,
    principal: Reader,
    next: Annotated[str, Query(max_length=2000, description="Path of the page to show after the sign-in.")] = "/",  # noqa: A002 - the parameter's public name
) -> SignInCodeOut:
    """Make a code that signs a browser in on the page, once and within ten minutes, with the rights of this token."""
    if principal.token_id is None:
        raise ApiError(403, "scope_missing", "only a token can sign a browser in")
    with services.database.begin() as connection:
        code = page_sessions.make_code(connection, principal.token_id)
    path = browser.own_path(next)
    query = "" if path == "/" else f"?next={quote(path, safe='')}"
    url = f"{page_root(request, services)}{browser.SIGN_IN}{query}#{code.text}"
    return SignInCodeOut(code=code.text, url=url, expires_at=code.expires_at)


def page_root(request: Request, services: Services) -> str:
    """Return the address of the page, as a browser should use it, without a final slash."""
    settings = services.settings
    if settings.api_public_url:
        return settings.api_public_url.rstrip("/")
    host = request.headers.get("host", "")
    if host_name(host) in {"127.0.0.1", "[::1]"} and "localhost" in settings.api_allowed_hosts:
        port = urlsplit(f"//{host}").port
        host = f"localhost:{port}" if port else "localhost"
    return f"{request.url.scheme}://{host}"


@router.get(browser.SIGN_IN)
async def show_sign_in(request: Request, next: Next = "/") -> Response:  # noqa: A002 - the parameter's public name
    """Return the form; a browser that is signed in is sent on."""
    parts = services(request)
    browser.check_name(request, parts)
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A link from another site brings no cookie (SameSite=Strict); a reload by this page itself does.
        return render("again.html", {"url": browser.own_path(next)})
    return _form(request, browser.own_path(next))


@router.post(browser.SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Begin a session, if the token or code is valid."""
    before = request.cookies.get(browser.cookie_name(request, browser.BEFORE), "")
    form = await browser.form_of(request, browser.form_token(before) if before else "")
    secret, parts = form.get("secret", "").strip(), services(request)

    def begin() -> str | None:
        by = page_sessions.sign_in_by_token if secret.startswith(tokens.PREFIX) else page_sessions.sign_in_by_code
        with parts.database.begin() as connection:
            return by(connection, secret)

    path = browser.own_path(form.get("next", "/"))
    session = await run_in_threadpool(begin) if 0 < len(secret) <= LONGEST_SECRET else None
    if session is None:
        return _form(request, path, "This token or code is unknown, used or expired. `relay open` prints a new link.")
    answer = RedirectResponse(path, 303, headers=HEADERS)
    seconds = int(page_sessions.SESSION_LIFE.total_seconds())
    browser.set_cookie(request, answer, browser.SESSION, session, seconds)
    browser.set_cookie(request, answer, browser.BEFORE, "", 0)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, who: browser.SignedIn) -> Response:
    """End the session of this browser."""
    await browser.form_of(request, who.form_token)
    parts = services(request)
    session = request.cookies[browser.cookie_name(request, browser.SESSION)]

    def end() -> None:
        with parts.database.begin() as connection:
            page_sessions.sign_out(connection, session)

    await run_in_threadpool(end)
    answer = RedirectResponse(browser.SIGN_IN, 303, headers=HEADERS)
    browser.set_cookie(request, answer, browser.SESSION, "", 0)
    return answer


def _form(request: Request, path: str, problem: str | None = None) -> Response:
    before = request.cookies.get(browser.cookie_name(request, browser.BEFORE)) or browser.new_value()
    values = {"form_token": browser.form_token(before), "next": path, "problem": problem}
    answer = render("sign_in.html", values, status=403 if problem else 200)
    browser.set_cookie(request, answer, browser.BEFORE, before, BEFORE_SECONDS)
    return answer
