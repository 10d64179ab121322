"""Routes of tokens and nodes."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import JSONResponse, Response

from relay_api.dependencies import Admin, Created, Creating, Reader, ServicesDep
from relay_api.http.responses import problems
from relay_api.schemas import answers
from relay_api.schemas.admin import NewToken, NodeList, NodeOut, TokenIn, TokenList, TokenOut
from relay_api.schemas.patterns import NODE
from relay_api.services import Services
from relay_core.domain.short_id import PATTERN
from relay_core.store import tokens
from relay_core.store.database import Connection
from relay_core.store.nodes import revocation, runtime_nodes

router = APIRouter(prefix="/v1", tags=["admin"])


@router.post(
    "/tokens", status_code=201, response_model=NewToken, responses=problems(409, body=True), summary="Create a token"
)
def create_token(body: TokenIn, principal: Admin, creating: Creating) -> JSONResponse:
    """Create a token. Only this answer contains the token's text. Needs the scope `admin`."""
    expires_at = None
    if body.expires_in_seconds is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=body.expires_in_seconds)

    def create(connection: Connection) -> Created:
        info, text = tokens.create(
            connection,
            name=body.name,
            owner=body.owner,
            scopes=body.scopes,
            expires_at=expires_at,
            by=principal.owner,
        )
        # The stored answer lacks the token's text, because only a hash of the text may be stored.
        return Created(NewToken(**vars(info), token=text), kept=NewToken(**vars(info), token=None))

    return creating.answer(principal, body, 201, create)


@router.get("/tokens", responses=problems(), summary="List tokens")
def list_tokens(services: ServicesDep, principal: Admin) -> TokenList:  # noqa: ARG001 - asks for the scope
    """List all tokens, also revoked ones, without their text. Needs the scope `admin`."""
    with services.database.connect() as connection:
        return TokenList(items=[TokenOut.model_validate(info) for info in tokens.list_tokens(connection)])


TokenId = Annotated[
    str,
    Path(
        min_length=4,
        max_length=36,
        pattern=PATTERN,
        description="Its id, or the first characters of it (4 or more).",
    ),
]


@router.delete("/tokens/{token_id}", status_code=204, responses=problems(404), summary="Revoke a token")
def revoke_token(token_id: TokenId, services: ServicesDep, principal: Admin) -> Response:
    """Make the server refuse the token from the next request on. Needs the scope `admin`.

    Revoking a token again changes nothing.
    """
    with services.database.begin() as connection:
        tokens.revoke(connection, tokens.resolve(connection, token_id, "path.token_id"), principal.owner)
    return Response(status_code=204)


@router.get("/nodes", responses=problems(), summary="List nodes")
def list_nodes(services: ServicesDep, principal: Reader) -> NodeList:  # noqa: ARG001 - asks for the scope
    """List the hosts that run executions."""
    with services.database.connect() as connection:
        return NodeList(items=[answers.node(listed) for listed in runtime_nodes.list_nodes(connection)])


NodeId = Annotated[str, Path(max_length=200, pattern=NODE)]


@router.post("/nodes/{node_id}/drain", responses=problems(404), summary="Let a node take no new workspaces")
def drain_node(node_id: NodeId, services: ServicesDep, principal: Admin) -> NodeOut:
    """Give the node no new workspaces. Needs the scope `admin`.

    Workspaces that the node has already continue, and further steps in them still run.
    """
    return _set_draining(services, node_id, principal.owner, draining=True)


@router.post("/nodes/{node_id}/undrain", responses=problems(404, 409), summary="Let a node take new workspaces again")
def undrain_node(node_id: NodeId, services: ServicesDep, principal: Admin) -> NodeOut:
    """Let a drained node take new workspaces again. Needs the scope `admin`.

    For a revoked node it answers 409 `node_revoked`: restore that.
    """
    return _set_draining(services, node_id, principal.owner, draining=False)


@router.post("/nodes/{node_id}/revoke", responses=problems(404), summary="Let a node start nothing more")
def revoke_node(node_id: NodeId, services: ServicesDep, principal: Admin) -> NodeOut:
    """Let the node start no step any more, also in the workspaces that it has. Needs the scope `admin`.

    Steps that run there go on to their end; kill them if they must not. Steps that wait for the node say so in
    `waits_for`. If the worker of a running step ends, the step fails with `node_lost`.
    """
    with services.database.begin() as connection:
        return answers.node(revocation.revoke(connection, node_id, principal.owner))


@router.post("/nodes/{node_id}/restore", responses=problems(404), summary="Let a revoked node take work again")
def restore_node(node_id: NodeId, services: ServicesDep, principal: Admin) -> NodeOut:
    """Let a revoked node take work again, new workspaces too. Needs the scope `admin`."""
    with services.database.begin() as connection:
        return answers.node(revocation.restore(connection, node_id, principal.owner))


def _set_draining(services: Services, node_id: str, by: str, *, draining: bool) -> NodeOut:
    with services.database.begin() as connection:
        return answers.node(runtime_nodes.set_draining(connection, node_id, draining=draining, by=by))
