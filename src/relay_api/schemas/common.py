"""Types that all schemas share: no unknown keys, no conversion of types, and text that Postgres can store."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

NO_NUL = r"^[^\u0000]*$"
"""Pattern of text without NUL, which Postgres cannot store; pydantic itself refuses lone surrogates."""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_NUL)]
Script = Annotated[str, StringConstraints(max_length=256 * 1024, pattern=NO_NUL)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=1024 * 1024, pattern=NO_NUL)]
RelativeDir = Annotated[str, StringConstraints(max_length=1024, pattern=NO_NUL)]
GitUrlText = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=NO_NUL)]
BranchText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
ImageText = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]
Id = Annotated[UUID, Strict(strict=False)]
"""A UUID; JSON has it as text, so it is the one type that is converted."""


class Input(BaseModel):
    """A request body: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Output(BaseModel):
    """An answer."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(Output):
    """An error of one field."""

    field: str = Field(description="Dotted path in the body, or `query.NAME`, `path.NAME`, `header.NAME`.")
    message: str
    code: str = Field(description="Stable code for programs.")


class Problem(Output):
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    type: str = Field(description="Always `about:blank`: `code` tells errors apart.")
    title: str = Field(description="Name of the HTTP status.")
    status: int
    code: str = Field(description="Stable code for programs.", examples=["not_found", "validation_failed"])
    detail: str = Field(description="What is wrong and what to do, for people.")
    instance: str | None = Field(None, description="Path of the request.")
    errors: list[FieldProblem] | None = Field(
        None, description="Fields that are wrong; null where the error is not about fields."
    )
    checks: dict[str, Any] | None = Field(
        None, description="Results of the checks of `/healthz`; null in other errors."
    )


Links = Annotated[
    dict[str, str], Field(description="Paths of related resources; absolute URLs where `RELAY_API_PUBLIC_URL` is set.")
]
NextCursor = Annotated[str | None, Field(description="Pass it as `cursor` for the next page; null on the last.")]
