"""Routes of tags: reusable texts that prompts contain as `@name`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.schemas.patterns import NO_NUL
from relay_api.schemas.tags import TagChange, TagIn, TagOut, TagPage
from relay_core.domain.tags import TAG_NAME
from relay_core.store.shared import tags

router = APIRouter(prefix="/v1/tags", tags=["tags"])

TagText = Annotated[
    str,
    Path(alias="tag", min_length=1, max_length=63, pattern=TAG_NAME, description="Name of a tag of yours, or its id."),
]
NamePart = Annotated[
    str | None,
    Query(min_length=1, max_length=63, pattern=NO_NUL, description="Only tags whose names contain this, in any case."),
]


@router.post("", status_code=201, response_model=TagOut, responses=problems(409, body=True), summary="Create a tag")
def create_tag(body: TagIn, principal: Writer, creating: Creating) -> JSONResponse:
    """Create a tag. Prompts of its owner that contain `@tag_name` get its content instead, from now on."""
    return creating.answer(
        principal,
        body,
        201,
        lambda connection: TagOut.model_validate(tags.create(connection, body.tag_name, body.content, principal)),
    )


@router.get("", responses=problems(), summary="List tags, newest first")
def list_tags(services: ServicesDep, principal: Reader, page: Paging, query: NamePart = None) -> TagPage:
    """List your tags; with the scope `admin` the tags of all owners."""
    with services.database.connect() as connection:
        found = tags.listed(connection, principal, page, query)
    return TagPage(items=[TagOut.model_validate(each) for each in found.items], next_cursor=found.next_cursor)


@router.get("/{tag}", responses=problems(404), summary="Get a tag")
def get_tag(tag: TagText, services: ServicesDep, principal: Reader) -> TagOut:
    """Return one tag."""
    with services.database.connect() as connection:
        return TagOut.model_validate(tags.get(connection, tag, principal))


@router.patch("/{tag}", responses=problems(404, 409, body=True), summary="Change a tag")
def change_tag(tag: TagText, body: TagChange, services: ServicesDep, principal: Writer) -> TagOut:
    """Change name or content of a tag. Prompts that were sent before stay as they are."""
    values = body.model_dump(exclude_none=True)
    with services.database.begin() as connection:
        return TagOut.model_validate(tags.change(connection, tag, values, principal))


@router.delete("/{tag}", status_code=204, response_class=Response, responses=problems(404), summary="Delete a tag")
def delete_tag(tag: TagText, services: ServicesDep, principal: Writer) -> None:
    """Delete a tag. In prompts that are sent from now on, `@` and its name stay as they are."""
    with services.database.begin() as connection:
        tags.remove(connection, tag, principal)
