"""Admits uploads: who sends a large body must have a token that may write, before a byte of the body is read."""

from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Scope as HttpScope

from relay_api.dependencies import principal_of, require
from relay_api.http.problems import ApiError
from relay_api.services import Services
from relay_core.domain.vocabulary import Scope
from relay_core.store.outage import SQLAlchemyError, is_away


async def admit_upload(scope: HttpScope) -> None:
    """Do nothing if the client may upload; else its body would hold a place for as long as it sends slowly.

    Raises:
        ApiError: 401 or 403 as a route would answer it; 503 if the database does not answer.
    """
    scheme, token = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))
    known = token if scheme.lower() == "bearer" and token else None
    services: Services = scope["app"].state.services
    try:
        principal = await run_in_threadpool(principal_of, services, known)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        detail = "the database does not answer; ask again in a moment"
        raise ApiError(503, "database_unavailable", detail, {"Retry-After": "2"}) from error
    require(principal, Scope.WRITE)
