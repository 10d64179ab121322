"""Schemas of repositories."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import (
    BranchText,
    CopyFiles,
    GitUrlText,
    Input,
    NextCursor,
    Output,
    RelativeDir,
    Script,
    ShortText,
)
from relay_api.schemas.links import RepoLinks


class RepoDefaultsIn(Input):
    """Defaults of a repository: runs and workspaces take what request, job file and project leave open."""

    display_name: ShortText | None = Field(None, description="Name for people; null: the name.")
    setup_script: Script | None = Field(None, description="sh script that runs before the agent.")
    cleanup_script: Script | None = Field(None, description="sh script that runs after a successful agent.")
    archive_script: Script | None = Field(None, description="sh script that runs when a workspace is archived.")
    dev_server_script: Script | None = Field(None, description="sh script of the dev server.")
    parallel_setup_script: bool | None = Field(
        None, description="Run setup scripts at once, if every repository that has one says so; null: false."
    )
    copy_files: CopyFiles | None = Field(
        None,
        description="Patterns of files that git does not have and that new workspaces get, one a line.",
        examples=[".env"],
    )
    default_target_branch: BranchText | None = Field(
        None, description="Branch that work is to be merged into; null: the remote's default branch.", examples=["main"]
    )
    default_working_dir: RelativeDir | None = Field(
        None,
        description="Directory in the repository where its scripts and the agent run; relative, without `..`.",
        examples=["services/api"],
    )


class RepoCreateIn(RepoDefaultsIn):
    """Request for a new repository."""

    url: GitUrlText = Field(
        description="URL of the remote, or file:// and a path where the server allows it. It cannot be changed.",
        examples=["https://git.example.org/team/app.git"],
    )


class RepoChange(RepoDefaultsIn):
    """A merge patch (RFC 7396): what is left out stays, null clears. Workspaces that exist do not change."""


class RepoOut(Output):
    """A repository: a git remote of an owner, with defaults for runs and workspaces that use it."""

    id: UUID
    url: str
    name: str = Field(description="Last part of the URL.")
    display_name: str
    setup_script: str | None
    cleanup_script: str | None
    archive_script: str | None
    dev_server_script: str | None
    parallel_setup_script: bool
    copy_files: str | None
    default_target_branch: str | None
    default_working_dir: str | None
    project_ids: list[UUID] = Field(description="Projects that have it.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    links: RepoLinks


class RepoPage(Output):
    """One page of repositories."""

    items: list[RepoOut]
    next_cursor: NextCursor


class RepoDeleted(Output):
    """The repository that was deleted."""

    id: UUID
