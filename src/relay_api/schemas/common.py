"""Types that all schemas share. Requests may not have unknown keys or values of another type, nor NUL in a text."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from relay_api.schemas.patterns import IMAGE, NO_NUL
from relay_core.domain import copy_files


def _patterns(text: str) -> str:
    copy_files.parse(text)
    return text


ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_NUL)]
Script = Annotated[str, StringConstraints(max_length=256 * 1024, pattern=NO_NUL)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=1024 * 1024, pattern=NO_NUL)]
Description = Annotated[str, StringConstraints(max_length=1024 * 1024, pattern=NO_NUL)]
CopyFiles = Annotated[str, StringConstraints(max_length=16 * 1024, pattern=NO_NUL), AfterValidator(_patterns)]
RelativeDir = Annotated[str, StringConstraints(max_length=1024, pattern=NO_NUL)]
StrictId = Annotated[UUID, Field(strict=False)]
"""An id in a request body, which JSON has as a text."""
AgentDir = Annotated[
    str,
    StringConstraints(max_length=1024, pattern=NO_NUL),
    Field(
        description="Directory of the agent, relative to that of the clones: `NAME` of a repository, `NAME/directory`, "
        "or `.` for the directory that has all clones.",
        examples=["app/services/api"],
    ),
]
GitUrlText = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=NO_NUL)]
BranchText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
ImageText = Annotated[str, StringConstraints(max_length=512, pattern=IMAGE)]


class Input(BaseModel):
    """Base class of request bodies: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Output(BaseModel):
    """Base class of answers."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(Output):
    """An error in one field of a request."""

    field: str = Field(description="Dotted path in the body, or `query.NAME`, `path.NAME`, `header.NAME`.")
    message: str
    code: str = Field(description="Stable code for programs.")


class CandidateOut(Output):
    """A resource that a shortened id may stand for."""

    kind: str = Field(description="What it is.", examples=["workspace"])
    id: UUID
    title: str | None = Field(description="Text by which people recognise it.")
    created_at: datetime


class Check(Output):
    """Result of the check of one service."""

    ok: bool
    error: str | None = None


class Checks(Output):
    """Results of the checks of Postgres and Redis."""

    database: Check
    redis: Check


class RemovedOut(Output):
    """The bytes of a log that were removed because of their age or size."""

    stream: str
    start: int = Field(description="Offset of the first removed byte that was asked for.")
    end: int = Field(description="Offset after the last one: the size of the stream.")
    sha256: str | None = Field(description="Of the whole stream.")
    removed_at: datetime
    cause: Literal["age", "size"]


class Problem(Output):
    """An error in the format of RFC 9457 (`application/problem+json`)."""

    type: str = Field(description="Always `about:blank`: `code` tells errors apart.")
    title: str = Field(description="Name of the HTTP status.")
    status: int
    code: str = Field(description="Stable code for programs.", examples=["not_found", "validation_failed"])
    detail: str = Field(description="What is wrong and what to do, for people.")
    instance: str | None = Field(None, description="Path of the request.")
    errors: list[FieldProblem] | None = Field(
        None, description="Fields that are wrong; null where the error is not about fields."
    )
    candidates: list[CandidateOut] | None = Field(
        None, description="Of `ambiguous_id`: what the id may stand for, newest first; null in other errors."
    )
    removed: RemovedOut | None = Field(None, description="Of `log_removed`: what was removed; null in other errors.")
    checks: Checks | None = Field(None, description="Results of the checks of `/healthz`; null in other errors.")


NextCursor = Annotated[str | None, Field(description="Pass it as `cursor` for the next page; null on the last.")]
