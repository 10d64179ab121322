"""Routes of single nodes: attach, heartbeat, capabilities, detach, credentials, and the floors of pools.

Workers speak to Postgres; these are the same operations for operators, and for a node with a credential of its own.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import JSONResponse, Response

from relay_api.dependencies import Admin, AnyPrincipal, Reader, ServicesDep
from relay_api.http.problems import ApiError
from relay_api.http.responses import problems
from relay_api.schemas import answers
from relay_api.schemas.admin import NewToken, NodeOut
from relay_api.schemas.nodes import (
    AttachIn,
    AttachOut,
    CapabilitiesIn,
    CapabilitiesOut,
    DetachIn,
    FloorIn,
    FloorList,
    FloorOut,
    HeartbeatIn,
)
from relay_api.schemas.patterns import NODE, POOL
from relay_core.domain.attachment import self_report
from relay_core.domain.errors import InvalidInput
from relay_core.domain.run_notes import check_object
from relay_core.domain.vocabulary import NodeHealth, SelfReport
from relay_core.store.nodes import attachments, credentials, pools, runtime_nodes
from relay_core.store.nodes.attachments import Attaching
from relay_core.store.tokens import Principal

router = APIRouter(prefix="/v1", tags=["admin"])
NodeId = Annotated[str, Path(max_length=200, pattern=NODE)]
Pool = Annotated[str, Path(max_length=200, pattern=POOL)]


async def _speaker(node_id: NodeId, principal: AnyPrincipal) -> Principal:
    if not credentials.may_speak(principal, node_id):
        raise ApiError(403, "scope_missing", "this token is neither a credential of the node nor an administrator's")
    return principal


Speaker = Annotated[Principal, Depends(_speaker)]
"""The node itself, or an administrator."""


@router.get("/nodes/{node_id}", responses=problems(404), summary="Read a node")
def get_node(node_id: NodeId, services: ServicesDep, principal: Reader) -> NodeOut:  # noqa: ARG001 - asks for the scope
    """Return one node: whether it takes part in a pool (`attachments`), and whether it lives (`liveness`)."""
    with services.database.connect() as connection:
        return answers.node(runtime_nodes.listed(connection, node_id))


@router.post("/nodes/{node_id}/attach", responses=problems(409, body=True), summary="Attach a node to a pool")
def attach_node(node_id: NodeId, body: AttachIn, services: ServicesDep, principal: Speaker) -> AttachOut:
    """Let a node take part in a pool, from its next heartbeat on. Needs the scope `admin`, or the node's credential.

    `health` is not stored: heartbeats tell it. Below the floor of the pool the node is `read_only`. 409:
    `runtimenode.attach_conflict` (it is attached elsewhere), `runtimenode.attach_revoked`.
    """
    check_object(body.capabilities, "capabilities")
    asked = Attaching(node_id, body.pool, body.protocol_version, body.capabilities, principal.owner)
    with services.database.begin() as connection:
        return AttachOut.model_validate(attachments.attach(connection, asked))


@router.post(
    "/nodes/{node_id}/heartbeat", status_code=204, responses=problems(404, body=True), summary="Say that a node lives"
)
def beat(node_id: NodeId, body: HeartbeatIn, services: ServicesDep, principal: Speaker) -> Response:  # noqa: ARG001
    """Store that a node lives, on the clock of the server. Needs the scope `admin`, or the node's credential."""
    default = NodeHealth.OK if body.health is SelfReport.ONLINE else NodeHealth.IMPAIRED
    detail = body.detail or default
    if self_report(detail) is not body.health:
        message = f"a node that reports {detail} is not {body.health}"
        raise InvalidInput(message, code="validation_failed", field="detail")
    with services.database.begin() as connection:
        runtime_nodes.beat(connection, node_id, detail)
    return Response(status_code=204)


@router.patch("/nodes/{node_id}/capabilities", responses=problems(404, 409, body=True), summary="Declare capabilities")
def declare_capabilities(
    node_id: NodeId,
    body: CapabilitiesIn,
    services: ServicesDep,
    principal: Speaker,  # noqa: ARG001
) -> CapabilitiesOut:
    """Replace what a node declares. Needs the scope `admin`, or the node's credential.

    A declaration never makes a registering node online. 409: `runtimenode.capabilityupdate_conflict`,
    `version.floor_exceeded`.
    """
    check_object(body.capabilities, "capabilities")
    change = body.health_change
    with services.database.begin() as connection:
        updated = attachments.update_capabilities(
            connection,
            node_id,
            body.capabilities,
            None if change is None else change.state,
            None if change is None else change.reason,
        )
    return CapabilitiesOut.model_validate(updated)


@router.post(
    "/nodes/{node_id}/detach",
    status_code=204,
    responses=problems(404, body=True),
    summary="Detach a node from its pool",
)
def detach_node(node_id: NodeId, services: ServicesDep, principal: Speaker, body: DetachIn | None = None) -> Response:
    """Let a node take no part any more: it starts nothing, and what it runs goes on. A second time changes nothing.

    Needs the scope `admin`, or the node's credential. A worker that starts there attaches the node again; to keep a
    node out, drain or revoke it.
    """
    with services.database.begin() as connection:
        attachments.detach(connection, node_id, principal.owner, body.reason if body else None)
    return Response(status_code=204)


@router.post(
    "/nodes/{node_id}/credentials",
    status_code=201,
    response_model=NewToken,
    responses=problems(404, 409),
    summary="Create a credential of a node",
)
def create_node_credential(node_id: NodeId, services: ServicesDep, principal: Admin) -> JSONResponse:
    """Create a token with which the node may attach, beat, declare and detach, and nothing else. Needs `admin`.

    Only this answer contains its text. Revoking the node revokes it.
    """
    with services.database.begin() as connection:
        info, text = credentials.create(connection, node_id, principal.owner)
    return JSONResponse(NewToken(**vars(info), token=text).model_dump(mode="json"), 201)


@router.get("/pools", responses=problems(), summary="List floors of pools")
def list_floors(services: ServicesDep, principal: Reader) -> FloorList:  # noqa: ARG001 - asks for the scope
    """List the lowest protocol versions that pools demand of their nodes. A pool without one may be missing."""
    with services.database.connect() as connection:
        return FloorList(items=[FloorOut.model_validate(floor) for floor in pools.floors(connection)])


@router.put("/pools/{pool}", responses=problems(409, body=True), summary="Raise the floor of a pool")
def put_floor(pool: Pool, body: FloorIn, services: ServicesDep, principal: Admin) -> FloorOut:
    """Set the lowest protocol version of nodes that may start steps of the pool. Needs the scope `admin`.

    A floor only rises (409 `version.floor_lowered`); null removes it. Nodes below it stay, and keep what they run.
    """
    with services.database.begin() as connection:
        return FloorOut.model_validate(pools.set_floor(connection, pool, body.min_protocol_version, principal.owner))
