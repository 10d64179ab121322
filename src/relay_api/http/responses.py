"""Descriptions of answers for the OpenAPI document: which errors an operation may return, and raw bodies."""

from typing import Any

from relay_api.http.problems import MEDIA_TYPE

_TEXTS = {
    400: "The body is not JSON.",
    401: "No token, or one that is not valid.",
    403: "The token lacks a scope.",
    404: "Not there, or not yours.",
    409: "The present state, an `Idempotency-Key` used before, or an ambiguous id, does not allow it.",
    410: "It was removed; `removed` says which part and when.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    416: "The range lies behind the end.",
    421: "The server does not answer to that Host.",
    422: "Something in the request is wrong; `errors` says what.",
    500: "An error of this server.",
    503: "The database does not answer.",
}
_ALWAYS = (401, 403, 421, 422, 500, 503)
_WITH_BODY = (400, 413, 415)
_WITH_ID = (409,)
"""Errors of a path with an id, besides 404: a shortened id may be ambiguous."""


def problems(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of an operation's errors, by HTTP status.

    Args:
        statuses: error statuses of this operation; those that every operation may return are added.
        body: True if the operation has a request body, which adds the errors of bodies.
    """
    wanted = sorted({*_ALWAYS, *statuses, *(_WITH_BODY if body else ()), *(_WITH_ID if 404 in statuses else ())})
    return {status: problem_doc(status) for status in wanted}


def problem_doc(status: int) -> dict[str, Any]:
    """Return the OpenAPI description of the error answer with this status."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": _TEXTS[status], "content": {MEDIA_TYPE: {"schema": schema}}}


def raw(description: str, *media_types: str) -> dict[str, Any]:
    """Return the OpenAPI description of an answer whose body is not JSON, in one of the media types."""
    return {"description": description, "content": {name: {"schema": _text_or_bytes(name)} for name in media_types}}


def _text_or_bytes(media_type: str) -> dict[str, Any]:
    binary = "octet" in media_type or "bundle" in media_type
    return {"type": "string", "format": "binary"} if binary else {"type": "string"}
