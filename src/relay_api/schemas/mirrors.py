"""Schemas of the git mirrors of nodes."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import NextCursor, Output
from relay_core.domain.vocabulary import CloneState


class MirrorOut(Output):
    """A git mirror: what one node has of one remote, fetched for one project with one credential."""

    id: UUID
    node_id: str
    project_id: UUID
    project: str = Field(description="Name of the project.")
    credential: str = Field(description="`node`: what the settings of the node's workers give.")
    remote: str = Field(description="URL of the remote, without credentials.")
    state: CloneState = Field(description="Outcome of the last fetch; `cloning` until the first one has ended.")
    error: str | None = Field(description="Why the last fetch failed.")
    fetched_at: datetime | None = Field(description="When a fetch last succeeded; null: never.")
    workspaces: int = Field(description="Workspaces of the node whose clones use its objects; it stays as long.")
    purge_requested_at: datetime | None = Field(description="When its removal was requested; null: it was not.")
    purge_waits_for: Literal["node", "offline", "clone", "workspaces"] | None = Field(
        description="What a requested removal waits for: `node`: the node does it within seconds; `offline`: the node "
        "is away and does it when it is back; `clone`: the node is cloning the project; `workspaces`: workspaces began "
        "to use it after the request."
    )
    created_at: datetime
    updated_at: datetime


class MirrorPage(Output):
    """One page of mirrors."""

    items: list[MirrorOut]
    next_cursor: NextCursor
