"""Schemas of the move of entities to another Relay."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from relay_api.schemas.common import (
    AgentDir,
    BranchText,
    GitUrlText,
    ImageText,
    Input,
    NextCursor,
    Output,
    Prompt,
    ShortText,
    StrictId,
)
from relay_api.schemas.images import Base64
from relay_api.schemas.patterns import FULL_COMMIT, NO_NUL, SHA256, VARIABLE, WEB_URL
from relay_api.schemas.repos import RepoDefaultsIn
from relay_api.schemas.shapes import MovedEntity, Shaped
from relay_api.schemas.workspaces import ProjectRepoIn
from relay_core.domain.transfer import EntityType, MigrationStatus, moved_time
from relay_core.domain.vocabulary import MergeMethod, TaskStatus

MOST_PARTS = 2000
Digest = Annotated[str, StringConstraints(pattern=SHA256)]
CommitId = Annotated[str, StringConstraints(pattern=FULL_COMMIT)]
Text = Annotated[str, StringConstraints(max_length=1024 * 1024, pattern=NO_NUL)]
StrictTime = Annotated[datetime, Field(strict=False), AfterValidator(moved_time)]
Number = Annotated[int, Field(ge=0, le=2**31)]
WebUrl = Annotated[str, StringConstraints(max_length=2048, pattern=WEB_URL)]


class InstallationOut(Output):
    """This Relay, as another one sees it."""

    id: UUID = Field(description="It never changes, and is that of the database.")
    version: str
    formats: list[int] = Field(description="Formats of imports that it reads.")


class MigrationIn(Input):
    """Request to register what is to be moved to another Relay."""

    target_id: StrictId = Field(description="Of its `GET /v1/migrations/installation`.")
    target_url: WebUrl = Field(description="Its address, for people; it must have no credentials.")
    project_id: ShortText | None = Field(
        None, description="Only this project, by its id or name, and what belongs to it; null: all that you may see."
    )


class MigrationCount(Output):
    """How many entities of a kind have a status."""

    entity_type: EntityType
    status: MigrationStatus
    count: int


class MigrationSummary(Output):
    """All entities that are registered for a target, by kind and status."""

    target_id: UUID
    owner: str = Field(description="Owner of the states: yours. A client moves the entities of these states only.")
    counts: list[MigrationCount]


class MigrationOut(Output):
    """How far the move of one entity has come."""

    id: UUID
    target_id: UUID
    target_url: str
    entity_type: EntityType
    local_id: UUID
    remote_id: UUID | None = Field(description="Its id in the target, once it is there.")
    status: MigrationStatus
    error_message: str | None = Field(description="Why it failed or was skipped.")
    attempt_count: int = Field(description="How often a client has begun to move it.")
    created_by: str
    created_at: datetime
    updated_at: datetime


class MigrationPage(Output):
    """A page of states."""

    items: list[MigrationOut]
    next_cursor: NextCursor


class OutcomeIn(Input):
    """The end of an attempt to move an entity."""

    status: Literal["migrated", "failed", "skipped"]
    remote_id: StrictId | None = Field(None, description="Of `migrated`: its id in the target.")
    error_message: Prompt | None = Field(None, description="Of `failed` and `skipped`: why, for people.")


class DocumentOut(Output):
    """An entity as an import takes it, with the ids of this Relay."""

    format: int
    origin_id: UUID
    source_id: UUID
    entity_type: EntityType
    content: Annotated[dict[str, Any], Shaped(MovedEntity)] = Field(
        description="The field `project`, `task` or `pr_merge` of an import; a workspace has its parts beside it."
    )


class TransferPartOut(Output):
    """A part of a workspace: its rows, logs and recorded git states."""

    data: str = Field(description="The bytes in base64.", json_schema_extra={"contentEncoding": "base64"})
    sha256: str = Field(description="SHA-256 of the bytes, in hex.")
    size_bytes: int
    next_cursor: NextCursor


class TransferPartIn(Input):
    """Request to upload a part of a workspace."""

    data: Base64 = Field(description="The bytes in base64.", json_schema_extra={"contentEncoding": "base64"})


class StoredPartOut(Output):
    """A part that waits for an import."""

    sha256: str
    size_bytes: int


class MovedRepoIn(ProjectRepoIn):
    """A repository of a project, and the defaults that it gets if it is not here yet."""

    defaults: RepoDefaultsIn = Field(default_factory=RepoDefaultsIn)


class MovedProjectIn(Input):
    """A project of another Relay."""

    name: ShortText
    default_image: ImageText | None = None
    default_agent_working_dir: AgentDir | None = None
    default_for: GitUrlText | None = Field(
        None, description="URL of a repository whose runs without a `project_id` are to belong to this project."
    )
    repos: list[MovedRepoIn] = Field(default_factory=list, max_length=50)


class MovedTaskIn(Input):
    """A task of another Relay, which is not in progress."""

    project_id: StrictId = Field(description="Its project in this Relay.")
    title: ShortText
    description: Text | None = None
    status: Annotated[TaskStatus, Field(strict=False)]
    created_at: StrictTime
    image_ids: list[StrictId] = Field(default_factory=list, max_length=50, description="Images in this Relay.")


class MovedWorkspaceIn(Input):
    """A workspace of another Relay, whose parts were uploaded."""

    task_id: StrictId = Field(description="Its task in this Relay.")
    parts: list[Digest] = Field(
        min_length=1, max_length=MOST_PARTS, description="SHA-256 of its parts, in the order in which they were read."
    )


class MovedMergeIn(Input):
    """A pull request that was made for a workspace of another Relay."""

    workspace_id: StrictId = Field(description="Its workspace in this Relay.")
    repo_url: GitUrlText
    execution_id: StrictId | None = Field(None, description="The execution in the source that made it.")
    method: Annotated[MergeMethod, Field(strict=False)]
    target_branch_name: BranchText
    message: Prompt
    source_commit: CommitId | None = None
    target_commit: CommitId | None = None
    merge_commit: CommitId | None = None
    merged_at: StrictTime | None = None
    pr_number: Number
    pr_url: WebUrl
    pr_status: Literal["open", "merged", "closed"]
    pr_token_secret: Annotated[str, StringConstraints(max_length=255, pattern=VARIABLE)] | None = None
    created_at: StrictTime


class ImportIn(Input):
    """Request to import one entity of another Relay; the field that its `entity_type` names is needed."""

    format: Literal[1]
    origin_id: StrictId = Field(description="The other Relay: the `id` of its installation.")
    source_id: StrictId = Field(description="Id of the entity there.")
    entity_type: Annotated[EntityType, Field(strict=False)]
    project: MovedProjectIn | None = None
    task: MovedTaskIn | None = None
    workspace: MovedWorkspaceIn | None = None
    pr_merge: MovedMergeIn | None = None


class ImportOut(Output):
    """An entity that was imported."""

    entity_type: EntityType
    id: UUID = Field(description="Its id in this Relay.")
    created: bool = Field(description="False: an earlier import has made it.")
