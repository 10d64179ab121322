"""Schemas of deleted workspaces whose files can be restored, and of acts that remove files for good."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, NextCursor, Output
from relay_api.schemas.git_states import Generation
from relay_core.domain.vocabulary import QuarantineState


class QuarantinedOut(Output):
    """A deleted workspace."""

    id: UUID
    task_id: UUID
    project_id: UUID
    project: str = Field(description="Name of its project, which may be deleted, too.")
    title: str = Field(description="Title of its task.")
    name: str | None
    branch: str
    node_id: str | None = Field(description="Node that keeps its files.")
    quarantine: QuarantineState | None = Field(
        description="`kept`: it can be restored; `restoring`: its node brings it back; `purging`: its node removes it "
        "for good. Null: its node has not put it away yet, or nothing is left of it."
    )
    quarantined_at: datetime | None = Field(description="When its node put its files away.")
    kept_until: datetime | None = Field(description="When its node removes them; earlier if its disk is nearly full.")
    created_by: str
    created_at: datetime
    deleted_at: datetime


class QuarantinedPage(Output):
    """One page of deleted workspaces."""

    items: list[QuarantinedOut]
    next_cursor: NextCursor


class PurgeIn(Input):
    """Request to remove files for good."""

    generation: Generation = Field(description="`generation` of the preview; if anything has happened since: 409.")


class CleanUpPreviewIn(Input):
    """Request for the preview of the clean-up of a project's archive."""

    unchanged_seconds: float = Field(
        default=0, ge=0, le=3650 * 86400, description="Only workspaces that have not changed for so long."
    )


class CleanUpIn(CleanUpPreviewIn):
    """Request to delete the archived workspaces of a project."""

    generation: Generation = Field(description="`generation` of the preview; if anything has happened since: 409.")


class CleanedUp(Output):
    """The archived workspaces that were deleted; their nodes keep the files for a while."""

    project_id: UUID
    workspaces: list[UUID]


class RestoredProject(Output):
    """A project that is back."""

    id: UUID
    workspaces: list[UUID] = Field(description="Its workspaces that their nodes bring back.")
