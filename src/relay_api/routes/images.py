"""Routes of uploaded images, and of the tasks that they belong to."""

import base64
import binascii
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems, raw
from relay_api.ids import OfTask, TaskId
from relay_api.schemas.images import ImageIn, ImageOut, ImagePage
from relay_core.domain import uploaded_images
from relay_core.domain.errors import InvalidInput
from relay_core.domain.uploaded_images import EXTENSIONS
from relay_core.store.database import Connection
from relay_core.store.shared import images

router = APIRouter(prefix="/v1", tags=["images"])

ImageId = Annotated[UUID, Path(description="Id of an image.")]


@router.post(
    "/images", status_code=201, response_model=ImageOut, responses=problems(body=True), summary="Upload an image"
)
def upload_image(body: ImageIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Store an image. Type and size are read from its bytes; name and type that a client says count for nothing.

    Bytes that you have uploaded before give the image that has them. An image that belongs to no task is deleted after
    a day (`RELAY_IMAGE_UNUSED_HOURS`).
    """
    data = decoded(body.data)
    settings = services.settings
    facts = uploaded_images.read(data, settings.image_max_bytes, settings.image_max_pixels)

    def create(connection: Connection) -> ImageOut:
        made = images.create(connection, body.name, data, facts, principal)
        return ImageOut.model_validate(images.get(connection, made["id"], principal))

    return creating.answer(principal, body, 201, create)


@router.get("/images", responses=problems(404), summary="List images, newest first")
def list_images(services: ServicesDep, principal: Reader, page: Paging, task_id: OfTask) -> ImagePage:
    """List uploaded images, without their bytes."""
    with services.database.connect() as connection:
        found = images.listed(connection, principal, page, task_id)
    return ImagePage(items=[ImageOut.model_validate(each) for each in found.items], next_cursor=found.next_cursor)


@router.get("/images/{image_id}", responses=problems(404), summary="Get an image")
def get_image(image_id: ImageId, services: ServicesDep, principal: Reader) -> ImageOut:
    """Return one image, without its bytes."""
    with services.database.connect() as connection:
        return ImageOut.model_validate(images.get(connection, image_id, principal))


@router.get(
    "/images/{image_id}/content",
    response_class=Response,
    responses={**problems(404), 200: raw("The bytes.", *EXTENSIONS, "application/octet-stream")},
    summary="Get the bytes of an image",
)
def image_content(image_id: ImageId, services: ServicesDep, principal: Reader) -> Response:
    """Return the bytes of an image, as they were uploaded."""
    with services.database.connect() as connection:
        found, data = images.content(connection, image_id, principal)
    disposition = {"Content-Disposition": f'attachment; filename="{found["file_path"]}"'}
    return Response(data, media_type=found["mime_type"], headers=disposition)


@router.delete(
    "/images/{image_id}",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409),
    summary="Delete an image",
)
def delete_image(image_id: ImageId, services: ServicesDep, principal: Writer) -> None:
    """Delete an image that belongs to no task (else 409 `image_in_use`). Copies of it in workspaces stay."""
    with services.database.begin() as connection:
        images.remove(connection, image_id, principal)


@router.put(
    "/tasks/{task_id}/images/{image_id}",
    status_code=204,
    response_class=Response,
    responses=problems(404),
    summary="Give an image to a task",
)
def put_task_image(task_id: TaskId, image_id: ImageId, services: ServicesDep, principal: Writer) -> None:
    """Let the agents of a task have an image, from the next turn on."""
    with services.database.begin() as connection:
        images.link_to_task(connection, task_id, image_id, principal)


@router.delete(
    "/tasks/{task_id}/images/{image_id}",
    status_code=204,
    response_class=Response,
    responses=problems(404),
    summary="Take an image from a task",
)
def delete_task_image(task_id: TaskId, image_id: ImageId, services: ServicesDep, principal: Writer) -> None:
    """Take an image from a task. Later turns do not get it; copies in workspaces stay."""
    with services.database.begin() as connection:
        images.unlink(connection, task_id, image_id, principal)


def decoded(text: str) -> bytes:
    """Return the bytes of a text in base64.

    Raises:
        InvalidInput: it is none; the field is `data`.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the data is not base64", code="image_damaged", field="data") from error
