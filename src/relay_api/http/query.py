"""Refuse query parameters that a route does not know, which a misspelled filter would else silently be."""

import difflib

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


def check_query(request: Request) -> None:
    """Check that the route of a request knows all of its query parameters.

    Raises:
        RequestValidationError: there are others; each error names the one that is most like it, or all that are known.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = _known(route)
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        errors = [
            {"type": "unknown_parameter", "loc": ("query", name), "msg": _message(name, known)} for name in unknown
        ]
        raise RequestValidationError(errors)


def _known(route: APIRoute) -> tuple[str, ...]:
    found = get_flat_params(route.dependant)
    return tuple(field.alias for field in found if isinstance(field.field_info, params.Query))


def _message(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "there are no query parameters here"
    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"there is no such parameter; {f'did you mean {close[0]}? ' if close else ''}known: {', '.join(known)}"
