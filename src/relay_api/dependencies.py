"""Who asks, and what for: the parameters that routes share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from relay_api.http.problems import ApiError
from relay_api.services import Services, services
from relay_core.domain.vocabulary import Scope
from relay_core.store import idempotency
from relay_core.store.tokens import Principal, find_principal
from relay_core.store.transaction import transact
from relay_core.store.views import paging

ServicesDep = Annotated[Services, Depends(services)]

_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token of `POST /v1/tokens` or `relay token`."
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def _who(services: Services, credentials: HTTPAuthorizationCredentials | None, scope: Scope) -> Principal:
    challenge = {"WWW-Authenticate": "Bearer"}
    if credentials is None:
        detail = "send a token: Authorization: Bearer relay_… (`relay token` makes one)"
        raise ApiError(401, "token_missing", detail, challenge)
    with services.database.connect() as connection:
        principal = find_principal(connection, credentials.credentials)
    if principal is None:
        raise ApiError(401, "token_invalid", "this token is unknown, expired or revoked", challenge)
    if not principal.may(scope):
        raise ApiError(403, "scope_missing", f"this token lacks the scope {scope}")
    return principal


def _reader(services: ServicesDep, credentials: Credentials) -> Principal:
    return _who(services, credentials, Scope.READ)


def _writer(services: ServicesDep, credentials: Credentials) -> Principal:
    return _who(services, credentials, Scope.WRITE)


def _admin(services: ServicesDep, credentials: Credentials) -> Principal:
    return _who(services, credentials, Scope.ADMIN)


Reader = Annotated[Principal, Depends(_reader)]
Writer = Annotated[Principal, Depends(_writer)]
Admin = Annotated[Principal, Depends(_admin)]


def _page(
    limit: Annotated[int, Query(ge=1, le=200, description="Most items on a page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, pattern="^[A-Za-z0-9_-]+$", description="`next_cursor` of the page before.")
    ] = None,
) -> paging.PageRequest:
    return paging.PageRequest(limit, paging.decode(cursor) if cursor else None)


Paging = Annotated[paging.PageRequest, Depends(_page)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern="^[A-Za-z0-9._~:/+=-]+$",
        description="A word of yours for this request. Sent again with the same body it answers as before and creates "
        "nothing; with another body: 409 `idempotency_key_reused`.",
    ),
]


@dataclass(frozen=True)
class Made:
    """What a creating request made."""

    answer: BaseModel
    after_commit: Callable[[], None] | None = None
    kept: BaseModel | None = None
    """What a copy of the request is answered, where that must be less (a token's text)."""


class Creation:
    """Answers a creating request once, whatever the number of its copies."""

    def __init__(self, request: Request, services: ServicesDep, idempotency_key: IdempotencyKey = None) -> None:
        self._request = request
        self._services = services
        self._key = idempotency_key

    def answer(
        self, principal: Principal, body: BaseModel, status: int, make: Callable[[Connection], Made]
    ) -> JSONResponse:
        """Create in one transaction together with the key, then do what is due after commit.

        ``make`` is called again where another transaction was in the way: it must only read and write in its own.
        """
        copy_of = self._copy_of(principal, body)

        def create(connection: Connection) -> Made | idempotency.Stored:
            if copy_of is not None:
                stored = idempotency.begin(connection, copy_of, self._services.settings.idempotency_ttl_hours)
                if stored is not None:
                    return stored
            made = make(connection)
            if copy_of is not None:
                idempotency.finish(connection, copy_of, status, _json(made.kept or made.answer))
            return made

        made = transact(self._services.database, create)
        if isinstance(made, idempotency.Stored):
            return JSONResponse(made.body, made.status, headers={"Idempotency-Replayed": "true"})
        if made.after_commit is not None:
            made.after_commit()
        return JSONResponse(_json(made.answer), status)

    def _copy_of(self, principal: Principal, body: BaseModel) -> idempotency.Request | None:
        if self._key is None:
            return None
        given = body.model_dump(mode="json", exclude_unset=True)
        hashed = idempotency.request_hash(self._request.method, self._request.url.path, given)
        return idempotency.Request(principal.owner, self._key, hashed)


Creating = Annotated[Creation, Depends()]


def _json(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(mode="json")
