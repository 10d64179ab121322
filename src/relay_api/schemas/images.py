"""Schemas of uploaded images."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, NextCursor, Output, ShortText
from relay_core.store.shared.images import MOST_OF_TASK

Base64 = Annotated[str, StringConstraints(min_length=1)]
ImageIds = Annotated[
    list[Annotated[UUID, Field(strict=False)]],
    Field(max_length=MOST_OF_TASK, description="Uploaded images (`POST /v1/images`) for the agent."),
]


class ImageIn(Input):
    """Request to upload an image."""

    name: ShortText = Field(description="Name of the file, for people.")
    data: Base64 = Field(
        description="The bytes in base64: PNG, JPEG, GIF or WebP.", json_schema_extra={"contentEncoding": "base64"}
    )


class ImageOut(Output):
    """An uploaded image."""

    id: UUID
    original_name: str = Field(description="The name that the client gave, without directories.")
    file_path: str = Field(description="Name of its file in `.relay-images` of an agent's working directory.")
    mime_type: str = Field(description="Read from its bytes.")
    size_bytes: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    hash: str = Field(description="SHA-256 of its bytes, in hex. An owner has each image once.")
    task_ids: list[UUID] = Field(description="Tasks that it belongs to.")
    created_by: str
    created_at: datetime


class ImagePage(Output):
    """A page of images."""

    items: list[ImageOut]
    next_cursor: NextCursor
