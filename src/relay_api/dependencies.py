"""Parameters that routes share: the token's owner (principal), the page of a list, and idempotent creation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.responses import JSONResponse

from relay_api.http.problems import ApiError
from relay_api.http.query import check_query
from relay_api.schemas import patterns
from relay_api.services import Services, services_of
from relay_core.domain.vocabulary import Scope
from relay_core.store import idempotency
from relay_core.store.database import Connection
from relay_core.store.tokens import Principal, find_principal
from relay_core.store.views import paging

ServicesDep = Annotated[Services, Depends(services_of)]

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token of `POST /v1/tokens` or `relay token create`."
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def principal_of(services: Services, token: str | None) -> Principal:
    """Return the owner of a token.

    Raises:
        ApiError: 401 `token_missing` or `token_invalid`.
    """
    challenge = {"WWW-Authenticate": "Bearer"}
    if token is None:
        detail = "send a token: Authorization: Bearer relay_… (`relay token create` makes one)"
        raise ApiError(401, "token_missing", detail, challenge)
    with services.database.single_statements() as connection:
        principal = find_principal(connection, token)
    if principal is None:
        raise ApiError(401, "token_invalid", "this token is unknown, expired or revoked", challenge)
    return principal


def require(principal: Principal, scope: Scope) -> None:
    """Raise 403 `scope_missing` unless a token has a scope."""
    if not principal.may(scope):
        raise ApiError(403, "scope_missing", f"this token lacks the scope {scope}")


def _any(request: Request, services: ServicesDep, credentials: Credentials) -> Principal:
    principal = principal_of(services, None if credentials is None else credentials.credentials)
    check_query(request)
    return principal


AnyPrincipal = Annotated[Principal, Depends(_any)]
"""The owner of the token, whatever its scopes are: every token may at least read."""


def _with_scope(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    async def allowed(principal: AnyPrincipal) -> Principal:
        require(principal, scope)
        return principal

    return allowed


Reader = Annotated[Principal, Depends(_with_scope(Scope.READ))]
Writer = Annotated[Principal, Depends(_with_scope(Scope.WRITE))]
Admin = Annotated[Principal, Depends(_with_scope(Scope.ADMIN))]


async def _page(
    limit: Annotated[int, Query(ge=1, le=200, description="Most items on a page.")] = 50,
    cursor: Annotated[
        str | None,
        Query(
            max_length=200,
            pattern=patterns.PAGE,
            description="`next_cursor` of the page before; without it: the first page.",
        ),
    ] = None,
) -> paging.PageRequest:
    return paging.PageRequest(limit, paging.decode(cursor) if cursor else None)


Paging = Annotated[paging.PageRequest, Depends(_page)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=patterns.KEY,
        description="A text that you choose for this request. The same key with the same body gets the first answer "
        "again and creates nothing; with another body: 409 `idempotency_key_reused`.",
    ),
]


@dataclass(frozen=True)
class Created:
    """The answer to a request that creates something.

    Attributes:
        answer: the answer to this request.
        kept: the answer to store for repetitions of the request, if it must differ from `answer`, which may contain a
            token's text. None stores `answer`.
    """

    answer: BaseModel
    kept: BaseModel | None = None


class Creation:
    """Executes a creating request once, even if the client repeats it with the same `Idempotency-Key`."""

    def __init__(self, request: Request, services: Services, idempotency_key: str | None) -> None:
        self._request = request
        self._services = services
        self._key = idempotency_key

    def answer(
        self, principal: Principal, body: BaseModel, status: int, create: Callable[[Connection], Created | BaseModel]
    ) -> JSONResponse:
        """Call ``create`` and return its answer; for a repeated request, return the stored answer instead.

        The rows and the key are written in one transaction.

        Args:
            principal: owner of the key.
            body: body of the request; a repetition must have an equal body.
            status: HTTP status of the answer.
            create: makes the rows and the answer. It is called again after a deadlock, so it must only read and write
                in its transaction.
        """
        copy_of = self._copy_of(principal, body)

        def once(connection: Connection) -> Created | idempotency.StoredAnswer:
            if copy_of is not None:
                stored = idempotency.begin(connection, copy_of, self._services.settings.idempotency_ttl_hours)
                if stored is not None:
                    return stored
            made = create(connection)
            created = made if isinstance(made, Created) else Created(made)
            if copy_of is not None:
                idempotency.finish(connection, copy_of, status, _json(created.kept or created.answer))
            return created

        created = self._services.database.transact(once)
        if isinstance(created, idempotency.StoredAnswer):
            return JSONResponse(created.body, created.status, headers={"Idempotency-Replayed": "true"})
        return JSONResponse(_json(created.answer), status)

    def _copy_of(self, principal: Principal, body: BaseModel) -> idempotency.CreatingRequest | None:
        if self._key is None:
            return None
        given = body.model_dump(mode="json", exclude_unset=True)
        hashed = idempotency.request_hash(self._request.method, self._request.url.path, given)
        return idempotency.CreatingRequest(principal.owner, self._key, hashed)


async def _creation(request: Request, services: ServicesDep, idempotency_key: IdempotencyKey = None) -> Creation:
    return Creation(request, services, idempotency_key)


Creating = Annotated[Creation, Depends(_creation)]


def _json(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(mode="json")
