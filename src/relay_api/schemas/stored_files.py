"""Schemas of files that are stored with a project; answers never contain their content."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, Output, ShortText
from relay_api.schemas.patterns import NO_NUL
from relay_core.domain.copy_files import MOST_PATH_BYTES


class StoredFileIn(Input):
    """Request to store a file for clones of a repository of the project."""

    repo: ShortText | None = Field(
        None, description="Name, URL or id of the repository; null: the only one of the project."
    )
    path: Annotated[str, StringConstraints(min_length=1, max_length=MOST_PATH_BYTES, pattern=NO_NUL)] = Field(
        description="Where clones get it, relative to the root of the repository.", examples=["config/local.yml"]
    )
    content: Annotated[str, StringConstraints(pattern=NO_NUL)] = Field(
        description="The bytes in base64. Write-only.", json_schema_extra={"contentEncoding": "base64"}
    )
    executable: bool = Field(default=False, description="Whether clones get it as a program.")


class StoredFileOut(Output):
    """A stored file without its content."""

    id: UUID
    repo_id: UUID
    repo: str = Field(description="Name of the repository.")
    path: str = Field(description="Where clones get it.")
    size_bytes: int
    executable: bool
    created_by: str
    created_at: datetime
    updated_at: datetime = Field(description="When its content was stored.")


class StoredFileList(Output):
    """All files of a project, ordered by repository and path."""

    items: list[StoredFileOut]
