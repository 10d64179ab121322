"""Schemas of tags: reusable texts for prompts."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, NextCursor, Output
from relay_api.schemas.patterns import NO_NUL
from relay_core.domain.tags import MOST_CHARACTERS, TAG_NAME

TagName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=TAG_NAME)]
TagContent = Annotated[str, StringConstraints(max_length=MOST_CHARACTERS, pattern=NO_NUL)]


class TagIn(Input):
    """Request for a new tag."""

    tag_name: TagName = Field(description="Prompts contain the tag as `@` and this name.")
    content: TagContent = Field(description="The text that replaces `@tag_name`, in Markdown.")


class TagChange(Input):
    """Changes of a tag; fields that are left out stay."""

    tag_name: TagName | None = Field(None, description="Null: stays.")
    content: TagContent | None = Field(None, description="Null: stays.")


class TagOut(Output):
    """A reusable text."""

    id: UUID
    tag_name: str
    content: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class TagPage(Output):
    """A page of tags."""

    items: list[TagOut]
    next_cursor: NextCursor
