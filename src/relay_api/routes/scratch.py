"""Routes of scratch: drafts, notes and preferences of the token's owner, addressed by type and id."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from relay_api.dependencies import Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.schemas.scratch import ScratchIn, ScratchOut, ScratchPage
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import ScratchType
from relay_core.store.shared import scratch
from relay_core.store.shared.scratch import Place

router = APIRouter(prefix="/v1/scratch", tags=["scratch"])

ScratchId = Annotated[
    UUID, Path(description="The id of what the payload is about, for example of a session; any id will do.")
]


@router.get("", responses=problems(), summary="List scratch, newest first")
def list_scratch(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    scratch_type: Annotated[ScratchType | None, Query(alias="type", description="Only of this type.")] = None,
) -> ScratchPage:
    """List your drafts, notes and preferences. No other client sees them, whatever its scopes are."""
    with services.database.connect() as connection:
        found = scratch.listed(connection, principal, page, scratch_type)
    return ScratchPage(items=[ScratchOut.model_validate(each) for each in found.items], next_cursor=found.next_cursor)


@router.get("/{scratch_type}/{scratch_id}", responses=problems(404), summary="Get scratch")
def get_scratch(
    scratch_type: ScratchType, scratch_id: ScratchId, services: ServicesDep, principal: Reader
) -> ScratchOut:
    """Return one draft, note or preference."""
    with services.database.connect() as connection:
        return ScratchOut.model_validate(scratch.get(connection, Place(scratch_type, scratch_id), principal))


@router.put("/{scratch_type}/{scratch_id}", responses=problems(body=True), summary="Store scratch")
def put_scratch(
    scratch_type: ScratchType, scratch_id: ScratchId, body: ScratchIn, services: ServicesDep, principal: Writer
) -> ScratchOut:
    """Store a draft, a note or a preference in place of what is there. An equal payload changes nothing."""
    if body.payload.type != scratch_type:
        message = f"the payload is a {body.payload.type}, the path says {scratch_type}: make them equal"
        raise InvalidInput(message, code="scratch_type_mismatch", field="payload.type")
    scratch.check(body.payload.model_dump())  # as JSON, NaN would be null, and a surrogate an error
    payload = body.payload.model_dump(mode="json")
    with services.database.begin() as connection:
        return ScratchOut.model_validate(scratch.put(connection, Place(scratch_type, scratch_id), payload, principal))


@router.delete(
    "/{scratch_type}/{scratch_id}",
    status_code=204,
    response_class=Response,
    responses=problems(404),
    summary="Delete scratch",
)
def delete_scratch(scratch_type: ScratchType, scratch_id: ScratchId, services: ServicesDep, principal: Writer) -> None:
    """Delete one draft, note or preference."""
    with services.database.begin() as connection:
        scratch.remove(connection, Place(scratch_type, scratch_id), principal)
