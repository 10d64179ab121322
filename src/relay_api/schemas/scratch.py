"""Schemas of scratch: drafts, notes and preferences. The `type` of a payload decides which fields it has."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import BranchText, GitUrlText, ImageText, Input, NextCursor, Output, ShortText
from relay_api.schemas.patterns import NO_NUL, WEB_URL
from relay_core.domain.vocabulary import ScratchType
from relay_core.store.shared.scratch import MOST_BYTES

DraftText = Annotated[str, StringConstraints(max_length=MOST_BYTES, pattern=NO_NUL)]
WebUrl = Annotated[str, StringConstraints(max_length=2048, pattern=WEB_URL)]
AnyId = Annotated[UUID, Field(strict=False)]
Pixels = Annotated[int, Field(ge=1, le=16384)]


class DraftExecutor(Input):
    """The executor profile of a draft."""

    name: ShortText
    variant: ShortText | None = None


class DraftRepo(Input):
    """A repository of the draft of a workspace."""

    url: GitUrlText
    target_branch: BranchText | None = None


class DraftTask(Input):
    """The description of a task that is not created yet."""

    type: Literal["draft_task"]
    text: DraftText = Field(description="Markdown.")


class DraftFollowUp(Input):
    """A prompt that is not sent yet; its address has the id of the session."""

    type: Literal["draft_follow_up"]
    prompt: DraftText
    executor: DraftExecutor | None = None


class DraftWorkspace(Input):
    """A workspace that is not created yet."""

    type: Literal["draft_workspace"]
    project_id: AnyId | None = None
    task_id: AnyId | None = None
    title: ShortText | None = None
    prompt: DraftText = ""
    executor: DraftExecutor | None = None
    image: ImageText | None = None
    repos: list[DraftRepo] = Field(default_factory=list, max_length=50)


class PreviewSettings(Input):
    """Address and size in which a person looks at the preview of a dev server."""

    type: Literal["preview_settings"]
    url: WebUrl
    width: Pixels | None = Field(None, description="In CSS pixels; null: as wide as there is room.")
    height: Pixels | None = Field(None, description="In CSS pixels; null: as high as there is room.")


class WorkspaceNotes(Input):
    """Notes on a workspace, whose id is that of its address."""

    type: Literal["workspace_notes"]
    text: DraftText = Field(description="Markdown.")


class UiPreferences(Input):
    """The state of a user interface: sidebars, panels, filters."""

    type: Literal["ui_preferences"]
    preferences: dict[str, Any] = Field(
        description="Any JSON object; Relay only keeps it.", examples=[{"sidebar": {"open": True}}]
    )


Payload = Annotated[
    DraftTask | DraftFollowUp | DraftWorkspace | PreviewSettings | WorkspaceNotes | UiPreferences,
    Field(discriminator="type", description="Its `type` must be the type in the path."),
]


class ScratchIn(Input):
    """Request to store scratch in place of what is there."""

    payload: Payload


class ScratchOut(Output):
    """A draft, a note or a preference."""

    scratch_type: ScratchType
    id: UUID = Field(description="Chosen by the client: the id of what the payload is about.")
    payload: Payload
    created_at: datetime
    updated_at: datetime = Field(description="When the payload changed last.")


class ScratchPage(Output):
    """A page of scratch."""

    items: list[ScratchOut]
    next_cursor: NextCursor
