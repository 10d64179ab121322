"""Answer every error as RFC 9457 problem+json with a stable `code`. No answer repeats input, which may be secret."""

import http
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay_api.http.field_errors import field_errors
from relay_api.http.head import STREAM
from relay_api.http.headers import SECURITY_HEADERS
from relay_core.domain.errors import Ambiguous, Conflict, Gone, InvalidInput, NotFound, RelayError
from relay_core.store.logs.removed import LogRemoved
from relay_core.store.outage import SQLAlchemyError, is_away

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
_UNREADABLE = "There was an error parsing the body"
"""The text of FastAPI about a body whose parser raised another error than that of JSON."""
_DETAILS = {404: "there is nothing here", 405: "this method does not exist here; see Allow"}


class ApiError(HTTPException):
    """An error of the HTTP layer that has its own problem `code`."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code


def problem(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """Return a problem+json answer; `members` are further fields (`errors`, `checks`, `instance`), without None."""
    title = http.HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
    body |= {name: value for name, value in members.items() if value is not None}
    # The security headers are also needed on answers made outside of the middleware, like those to unexpected errors.
    return JSONResponse(_storable(body), status, headers={**SECURITY_HEADERS, **(headers or {})}, media_type=MEDIA_TYPE)


def install(
    app: FastAPI, routes: Sequence[BaseRoute], unknown_path: Callable[[Request], Awaitable[Response | None]]
) -> None:
    """Make the app answer every error as problem+json.

    Args:
        app: the application.
        routes: all routes of the app, from which the header `Allow` of a 405 answer is made.
        unknown_path: makes another answer to a request for a path without a route; it returns None for problem+json.
    """
    own = [route for route in routes if isinstance(route, Route)]

    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and not isinstance(error, ApiError):
            answer = await unknown_path(request)
            if answer is not None:
                return answer
        if error.status_code == 405:
            # Starlette lists only the methods of the first route that matches the path.
            error.headers = {"Allow": ", ".join(allowed_methods(own, request.url.path))}
        return await _http_error(request, error)

    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        RelayError: _relay_error,
        RequestValidationError: _validation_error,
        HTTPException: http_error,
        SQLAlchemyError: _database_error,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def allowed_methods(routes: Sequence[Route], path: str) -> list[str]:
    """Return the HTTP methods of all routes that match the path, sorted."""
    found = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
    return sorted(found | ({"HEAD"} if "GET" in found and not path.endswith(STREAM) else set()))


async def _relay_error(request: Request, error: RelayError) -> JSONResponse:
    statuses = ((InvalidInput, 422), (NotFound, 404), (Conflict, 409), (Gone, 410))
    status = next((status for kind, status in statuses if isinstance(error, kind)), 500)
    if status == 500:
        return await _unexpected(request, error)
    errors = None
    if isinstance(error, InvalidInput) and error.field:
        errors = [{"field": error.field, "message": str(error), "code": error.code}]
    candidates = jsonable_encoder(error.candidates) if isinstance(error, Ambiguous) else None
    more: dict[str, Any] = {"errors": errors, "candidates": candidates}
    if isinstance(error, LogRemoved):
        more["removed"] = error.as_json()
    return problem(status, error.code, str(error), instance=request.url.path, **more)


async def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _malformed(request, str(error.body), found[0])
    if isinstance(error.body, bytes):
        # FastAPI does not parse a body of another type, and reports that its bytes are no object.
        detail = "the body must be JSON: send the header Content-Type: application/json"
        return problem(415, "unsupported_media_type", detail, instance=request.url.path)
    errors = [one._asdict() for one in field_errors(found)]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:5]) or "the request is not valid"
    return problem(422, "validation_failed", detail, instance=request.url.path, errors=errors)


def _malformed(request: Request, body: str, error: Mapping[str, Any]) -> JSONResponse:
    position = error["loc"][-1]
    line, column = body.count("\n", 0, position) + 1, position - body.rfind("\n", 0, position)
    detail = f"the body is not JSON: {error['ctx']['error']} at line {line}, column {column}"
    return problem(400, "malformed_json", detail, instance=request.url.path)


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
    if error.detail == _UNREADABLE:
        detail = "the body is not JSON in UTF-8, or is nested too deeply"
        return problem(400, "malformed_json", detail, instance=request.url.path)
    code = error.code if isinstance(error, ApiError) else _CODES.get(status, "http_error")
    detail = str(error.detail) if isinstance(error, ApiError) else _DETAILS.get(status, str(error.detail))
    return problem(status, code, detail, headers=error.headers, instance=request.url.path)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    if not is_away(error):
        return await _unexpected(request, error)
    log.error("the database did not answer", path=request.url.path, error=str(error).splitlines()[0])
    return problem(
        503,
        "database_unavailable",
        "the database does not answer; ask again in a moment",
        headers={"Retry-After": "2"},
        instance=request.url.path,
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, method=request.method, exc_info=error)
    return problem(500, "internal_error", "an error of this server; its log says more", instance=request.url.path)


def _storable(value: Any) -> Any:
    """Return the JSON value with lone surrogates, which UTF-8 cannot encode, replaced in its texts."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {key: _storable(one) for key, one in value.items()}
        case list():
            return [_storable(one) for one in value]
        case _:
            return value
