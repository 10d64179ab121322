"""Schemas of the git state of workspaces: how their clones differ from what Relay recorded."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, Output
from relay_api.schemas.patterns import NO_NUL
from relay_core.domain.vocabulary import GitState

Generation = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
"""An opaque text that changes with everything that happens in a workspace or project."""


class CloneStateOut(Output):
    """The git state of one clone."""

    repo_id: UUID
    name: str
    git_state: GitState | None = Field(description="Null until the clone is made.")
    recorded_commit: str | None = Field(description="HEAD as the last execution left it, or as it was acknowledged.")
    head_commit: str | None = Field(description="HEAD as its node saw it last; null if it has no commit.")
    problem: str | None = Field(description="Why the commit of HEAD is not known.")
    found_at: datetime | None = Field(description="Since when it waits for an acknowledgement; null: it does not.")


class GitStateOut(Output):
    """The git state of a workspace. Its node compares before each step and at least every 30 s while no step runs."""

    workspace_id: UUID
    generation: str = Field(description="Give it back with the acknowledgement; it changes with each event.")
    git_state: GitState | None = Field(description="That of the clone that needs most attention.")
    acknowledgement_needed: bool = Field(
        description="Whether executions that may change the workspace are refused (409 `workspace_diverged`)."
    )
    repos: list[CloneStateOut]


class AcknowledgeIn(Input):
    """Request to accept the clones of a workspace as its node found them."""

    generation: Generation = Field(description="`generation` of `GET /v1/workspaces/{id}/git-state`.")
