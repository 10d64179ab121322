"""Schemas of previews: what an act would change, what speaks against it, and the generation to apply it with."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from relay_api.schemas.common import Input, Output, ShortText
from relay_api.schemas.git_states import Generation
from relay_api.schemas.patterns import NO_NUL
from relay_core.domain.vocabulary import OperationClass

OfPreview = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=64,
        pattern=NO_NUL,
        description="`generation` of the preview; if anything has happened since: 409 `stale_generation`.",
    ),
]


class NoteOut(Output):
    """A reason against an act."""

    code: str
    message: str


class MutationOut(Output):
    """One change that the act would make."""

    operation_class: OperationClass
    change: str = Field(description="The change as a clause for people.")
    repo: str | None = Field(description="Name of the repository whose clone it changes.")
    from_commit: str | None = Field(description="HEAD of that clone, as it was seen last.")
    to_commit: str | None = Field(description="HEAD of that clone afterwards.")


class PreviewOut(Output):
    """The consequences of an act. Nothing is changed by the preview."""

    act: str = Field(
        description="`reset`, `resume_at`, `workspace.delete`, `workspace.purge`, `project.delete`, `project.purge` or "
        "`project.clean_up`."
    )
    generation: str = Field(description="Give it to the act, which is then refused if anything has happened since.")
    blockers: list[NoteOut] = Field(description="Reasons for which the act would be refused now.")
    warnings: list[NoteOut]
    mutations: list[MutationOut]


class ResumeAtPreviewIn(Input):
    """Request for the preview of going back to an execution."""

    execution: ShortText = Field(description="Id of an execution of the workspace, or its beginning.")
    discard_changes: bool = Field(default=False, description="Throw uncommitted changes away.")


class ResumeAtIn(ResumeAtPreviewIn):
    """Request to go back to an execution."""

    generation: Generation = Field(description="`generation` of the preview.")
