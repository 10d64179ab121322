"""The browser behind a request to the page: its cookie, its principal and its form token.

Cookies ignore ports: a browser sends the cookie of a host name to every server on that name. Dev servers of workspaces
are shown at `http://127.0.0.1:PORT`, and an agent controls what answers there. So the page on the loopback address
lives on the name `localhost`, and its cookie never reaches a dev server.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from relay_api.http.middleware import host_name
from relay_api.http.problems import ApiError
from relay_api.services import Services, services
from relay_core.domain.vocabulary import Scope
from relay_core.store import page_sessions
from relay_core.store.tokens import Principal

SIGN_IN = "/sign-in"
SESSION, BEFORE = "session", "form"
"""Names of cookies: of a browser that is signed in, and of one that is about to."""


class Elsewhere(Exception):  # noqa: N818 - not an error
    """The browser must go to another address; `url` is a path of this server, or this server under another name."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@dataclass(frozen=True)
class Browser:
    """A browser that is signed in."""

    principal: Principal
    form_token: str
    """Value of the field `csrf` of its forms."""

    @property
    def writes(self) -> bool:
        """Whether its token may start and cancel runs."""
        return self.principal.may(Scope.WRITE)


def form_token(cookie: str) -> str:
    """Return the form token that belongs to a cookie; it does not reveal the cookie."""
    return hashlib.sha256(f"relay form {cookie}".encode()).hexdigest()


def is_secure(request: Request) -> bool:
    """Return whether the browser reaches this server by TLS, which a proxy may end: the public URL tells."""
    public = urlsplit(services(request).settings.api_public_url or "")
    proxied = public.scheme == "https" and public.hostname == host_name(request.headers.get("host", ""))
    return proxied or request.url.scheme == "https"


def cookie_name(request: Request, kind: str) -> str:
    """Return the name of a cookie of this server: with its port, as servers on one host share their cookies."""
    return f"__Host-relay-{kind}" if is_secure(request) else f"relay-{kind}-{request.url.port or 80}"


def set_cookie(request: Request, answer: Response, kind: str, value: str, seconds: int) -> None:
    """Set a cookie for this host only, which scripts and requests from other sites never get. Empty: remove it."""
    answer.set_cookie(
        cookie_name(request, kind),
        value,
        max_age=seconds if value else 0,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def here(request: Request) -> str:
    """Return the address of a GET request as a path, to come back to after the sign-in."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def own_path(text: str) -> str:
    r"""Return a path of this server unchanged; else `/`.

    Browsers read `//name` and `/\name` as other servers.
    """
    ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if ours and not urlsplit(text).netloc else "/"


def check_name(request: Request, services: Services) -> None:
    """Send a browser that reads the page on a loopback address to the name `localhost`.

    Raises:
        Elsewhere: the request is a GET to a loopback address, and this server also answers to `localhost`.
    """
    loopback = host_name(request.headers.get("host", "")) in {"127.0.0.1", "[::1]"}
    if loopback and "localhost" in services.settings.api_allowed_hosts and request.method == "GET":
        raise Elsewhere(str(request.url.replace(hostname="localhost")))


async def signed_in(request: Request) -> Browser:
    """Return the browser of a request.

    Raises:
        Elsewhere: it is not signed in.
    """
    parts = services(request)
    check_name(request, parts)
    session = request.cookies.get(cookie_name(request, SESSION), "")

    def look() -> Principal | None:
        with parts.database.single_statements() as connection:
            return page_sessions.principal_of(connection, session)

    principal = await run_in_threadpool(look) if session else None
    if principal is None:
        raise Elsewhere(f"{SIGN_IN}?next={quote(here(request), safe='')}" if request.method == "GET" else SIGN_IN)
    if not principal.may(Scope.READ):
        raise ApiError(403, "scope_missing", f"this token lacks the scope {Scope.READ}")
    browser = Browser(principal, form_token(session))
    request.state.browser = browser
    return browser


def known_browser(request: Request) -> Browser | None:
    """Return the browser that `signed_in` found for a request; None if it found none, or was not asked."""
    found: Browser | None = getattr(request.state, "browser", None)
    return found


SignedIn = Annotated[Browser, Depends(signed_in)]
Form = dict[str, str]


async def form_of(request: Request, token: str) -> Form:
    """Return the fields of a posted form, after checking that a page of this server posted it.

    Raises:
        ApiError: 403: another site posted it, or its form token is missing or old.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ApiError(403, "cross_site", "another site sent this form; open the page itself and try again")
    text = (await request.body()).decode(errors="replace")
    fields = {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True, max_num_fields=50).items()}
    if not hmac.compare_digest(fields.pop("csrf", "").encode(), token.encode()):
        raise ApiError(403, "form_expired", "this form is too old; reload the page and try again")
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}


async def _posted(request: Request, browser: SignedIn) -> Form:
    form = await form_of(request, browser.form_token)
    if not browser.writes:
        raise ApiError(403, "scope_missing", f"this token lacks the scope {Scope.WRITE}")
    return form


Posted = Annotated[Form, Depends(_posted)]
"""The fields of a form whose browser may write."""


def new_value() -> str:
    """Return a new random value for a cookie."""
    return secrets.token_urlsafe(24)
