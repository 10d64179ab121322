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
from starlette.routing import BaseRoute, Route

from relay_api.http.headers import SECURITY_HEADERS
from relay_core.domain.errors import Ambiguous, Conflict, InvalidInput, NotFound, RelayError
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


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make the app answer every error as problem+json.

    Args:
        app: the application.
        routes: all routes of the app, from which the header `Allow` of a 405 answer is made.
    """
    own = [route for route in routes if isinstance(route, Route)]

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            # Starlette lists only the methods of the first route that matches the path.
            error.headers = {"Allow": ", ".join(allowed_methods(own, request.url.path))}
        return await _http_error(request, error)

    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]] = {
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
    return sorted({method for route in routes if route.path_regex.match(path) for method in route.methods or ()})


def validation_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the first 50 of pydantic's errors: field paths, messages and codes. Values, maybe secret, are left out."""
    return [
        {"field": _path(error["loc"]), "message": str(error["msg"]), "code": str(error["type"])}
        for error in errors[:50]
    ]


async def _relay_error(request: Request, error: RelayError) -> JSONResponse:
    status = next(
        (status for kind, status in ((InvalidInput, 422), (NotFound, 404), (Conflict, 409)) if isinstance(error, kind)),
        500,
    )
    if status == 500:
        return await _unexpected(request, error)
    errors = None
    if isinstance(error, InvalidInput) and error.field:
        errors = [{"field": error.field, "message": str(error), "code": error.code}]
    candidates = jsonable_encoder(error.candidates) if isinstance(error, Ambiguous) else None
    return problem(status, error.code, str(error), instance=request.url.path, errors=errors, candidates=candidates)


async def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    errors = validation_errors(error.errors())
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:5]) or "the request is not valid"
    return problem(422, "validation_failed", detail, instance=request.url.path, errors=errors)


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
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


def _path(location: Sequence[Any]) -> str:
    """Return the location as a dotted path, without a leading `body`."""
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[0] == "body" and len(parts) > 1 else parts)


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
