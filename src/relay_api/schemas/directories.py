"""Schemas of directories of nodes that look like those of workspaces and are not used."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, NextCursor, Output, ShortText
from relay_core.domain.directories import DirectoryFinding


class DirectoryOut(Output):
    """A directory that no step uses."""

    id: UUID
    node_id: str
    path: str
    workspace_id: UUID = Field(description="The workspace that its anchor names; it need not exist.")
    finding: DirectoryFinding = Field(
        description="`unregistered`: no workspace claims it, and it can be adopted; `duplicate`: it is one of several "
        "of a workspace, in which nothing starts until all but one are removed."
    )
    created_at: datetime = Field(description="When its node found it.")


class DirectoryPage(Output):
    """One page of directories."""

    items: list[DirectoryOut]
    next_cursor: NextCursor


class AdoptIn(Input):
    """Request to make a directory a workspace."""

    project_id: ShortText = Field(description="Name or id of the project of its task, if the workspace has none.")
    title: ShortText = Field(default="Adopted workspace", description="Title of that task.")
