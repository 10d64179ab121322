"""Tokens and nodes."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import JSONResponse, Response

from relay_api.dependencies import Admin, Core, Creating, Made, Reader
from relay_api.responses import problems
from relay_api.schemas.admin import NewToken, NodeList, NodeOut, TokenIn, TokenList, TokenOut
from relay_core.postgres import nodes, tokens

router = APIRouter(prefix="/v1", tags=["admin"])


@router.post(
    "/tokens", status_code=201, response_model=NewToken, responses=problems(409, body=True), summary="Create a token"
)
def create_token(body: TokenIn, principal: Admin, creating: Creating) -> JSONResponse:
    """Needs the scope `admin`. The token's text is in this answer only."""
    expires_at = None
    if body.expires_in_seconds is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=body.expires_in_seconds)

    def make(connection: Connection) -> Made:
        info, text = tokens.create(
            connection, name=body.name, owner=body.owner, scopes=body.scopes, expires_at=expires_at
        )
        # Kept without its text: only a hash of a token is ever stored.
        return Made(NewToken(**vars(info), token=text), kept=NewToken(**vars(info), token=None))

    return creating.answer(principal, body, 201, make)


@router.get("/tokens", responses=problems(), summary="List tokens")
def list_tokens(core: Core, principal: Admin) -> TokenList:  # noqa: ARG001 - asks for the scope
    """Needs the scope `admin`. All tokens without their text, also revoked ones."""
    with core.engine.connect() as connection:
        return TokenList(items=[TokenOut.model_validate(info) for info in tokens.list_tokens(connection)])


@router.delete("/tokens/{token_id}", status_code=204, responses=problems(404), summary="Revoke a token")
def revoke_token(token_id: UUID, core: Core, principal: Admin) -> Response:  # noqa: ARG001 - asks for the scope
    """Needs the scope `admin`. Refused from the next request on; doing so again changes nothing."""
    with core.engine.begin() as connection:
        tokens.revoke(connection, token_id)
    return Response(status_code=204)


@router.get("/nodes", responses=problems(), summary="List nodes")
def list_nodes(core: Core, principal: Reader) -> NodeList:  # noqa: ARG001 - asks for the scope
    """Hosts that run executions."""
    with core.engine.connect() as connection:
        return NodeList(items=[NodeOut.model_validate(row) for row in nodes.list_nodes(connection)])
