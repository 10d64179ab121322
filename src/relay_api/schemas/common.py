"""What all schemas share: no unknown keys, no guessing of types, and text that Postgres can store."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

NO_NUL = r"^[^\u0000]*$"
"""Postgres' text has no NUL; lone surrogates are refused by pydantic itself."""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_NUL)]
Script = Annotated[str, StringConstraints(max_length=256 * 1024, pattern=NO_NUL)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=1024 * 1024, pattern=NO_NUL)]
RelativeDir = Annotated[str, StringConstraints(max_length=1024, pattern=NO_NUL)]
GitUrlText = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=NO_NUL)]
BranchText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
ImageText = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]
Id = Annotated[UUID, Strict(strict=False)]
"""A UUID, which JSON has as text."""


class Input(BaseModel):
    """A request body: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Output(BaseModel):
    """An answer."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(Output):
    """What is wrong with one field."""

    field: str = Field(description="Dotted path in the body, or `query.NAME`, `path.NAME`, `header.NAME`.")
    message: str
    code: str = Field(description="Stable word for programs.")


class Problem(Output):
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    type: str = Field(description="Always `about:blank`: `code` tells errors apart.")
    title: str = Field(description="Name of the status.")
    status: int
    code: str = Field(description="Stable word for programs.", examples=["not_found", "validation_failed"])
    detail: str = Field(description="What is wrong and what to do, for people.")
    instance: str | None = Field(None, description="Path of the request.")
    errors: list[FieldProblem] | None = Field(None, description="The wrong fields, where fields are wrong.")
    checks: dict[str, Any] | None = Field(None, description="Of `/healthz`: what was checked.")


Links = Annotated[
    dict[str, str], Field(description="Paths of related resources, absolute URLs where the server knows its own.")
]
NextCursor = Annotated[str | None, Field(description="Pass it as `cursor` for the next page; null on the last.")]
