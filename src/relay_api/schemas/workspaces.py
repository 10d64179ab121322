"""Schemas of workspaces, projects and tasks."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import (
    AgentDir,
    CopyFiles,
    Description,
    GitUrlText,
    ImageText,
    Input,
    NextCursor,
    Output,
    Prompt,
    Script,
    ShortText,
    StrictId,
)
from relay_api.schemas.expiry import IdleHoursIn, IdleHoursOut
from relay_api.schemas.links import ProjectLinks, TaskLinks, WorkspaceLinks
from relay_api.schemas.measures import LimitsOut, UsageOut
from relay_api.schemas.runs import MAX_UID, Capability, Env, JobIn, LimitsIn, SecretReader, Secrets
from relay_core.domain.vocabulary import (
    CloneState,
    FirstState,
    GitState,
    Status,
    StopReason,
    TaskStatus,
    WorkspaceState,
)


class WorkspaceIn(Input):
    """Request for a workspace on a project, without a run."""

    project_id: ShortText = Field(description="The project's name or id, or the first 4 or more characters of the id.")
    title: ShortText | None = Field(None, description="Null: named after the project.")
    image: ImageText | None = Field(
        None, description="Null: that of the profile, the project, then the server's default."
    )
    profile: ShortText | None = Field(None, description="Session profile (`GET /v1/profiles`) that gives the image.")
    env: Env = Field(
        default_factory=dict,
        max_length=200,
        description="As in `POST /v1/runs`.",
        json_schema_extra={"additionalProperties": False},
    )
    secrets: Secrets = Field(default_factory=list, description="Secrets of the project, as in `POST /v1/runs`.")
    secrets_in: list[SecretReader] = Field(
        ["coding_agent"], min_length=1, max_length=5, description="Which executions get the secrets."
    )
    needs: list[Capability] = Field(
        default_factory=list, max_length=20, description="Capabilities that the node has to declare."
    )
    job_file: bool = Field(
        default=True,
        description="Read `relay.toml` of each repository for what this request leaves open; not its executor.",
    )
    agent_working_dir: AgentDir | None = None
    limits: LimitsIn = Field(default_factory=LimitsIn)
    user: int | None = Field(
        None, ge=0, le=MAX_UID, description="Uid of all processes; null: the image's USER, then the node's default."
    )


class WorkspaceChange(Input):
    """A merge patch (RFC 7396): what is left out stays, null clears."""

    name: ShortText | None = None
    agent_working_dir: AgentDir | None = Field(
        None,
        description="Of agents that begin a new conversation; null: that of the only repository, else the clones'.",
    )
    pinned: bool | None = Field(None, description="A pinned workspace is never removed by itself. Null: it stays.")
    archived: bool | None = Field(
        None,
        description="An archived workspace takes no step but archive scripts. False for the first time clones one "
        "that was imported from another Relay. Null: it stays.",
    )


class WorkspaceRepoOut(Output):
    """A repository in a workspace."""

    repo_id: UUID
    name: str = Field(description="Directory of its clone.")
    url: str
    target_branch: str | None = Field(description="Branch that the work is to be merged into.")
    ref: str | None = Field(description="What the run asked to start from; null: the target branch.")
    working_dir: str | None
    base_commit: str | None = Field(description="Where the workspace's branch started; of a fork as its source has it.")
    start_commit: str | None = Field(
        description="Of a fork: the recorded commit of its source from which it starts; null: `base_commit`."
    )
    git_state: GitState | None = Field(description="Of the clone; see `GET /v1/workspaces/{id}/git-state`.")


class TaskRef(Output):
    """The task that a workspace is an attempt at."""

    id: UUID
    title: str
    status: TaskStatus


class LiveDevServer(Output):
    """The latest dev server of a workspace that is queued or running."""

    execution_id: UUID
    status: Status
    url: str | None = Field(description="On the node's loopback; null while its port does not answer.")


class WorkspaceOut(Output):
    """One attempt at a task: one branch, one clone per repository, one container, one node."""

    id: UUID
    project_id: UUID
    task_id: UUID
    name: str | None
    branch: str
    state: WorkspaceState
    requested_state: WorkspaceState | None = Field(
        description="`stopped` or `running`: asked for and not carried out yet by its node; no step starts meanwhile."
    )
    stop_reason: StopReason | None = Field(
        description="Why it is stopped, or about to be; null: it is not. `idle`: the next step starts it again."
    )
    error_reason: str | None
    git_state: GitState | None = Field(description="Of the clone that needs most attention; null until it is cloned.")
    archived: bool
    pinned: bool
    imported_from: UUID | None = Field(description="The other Relay that it came from; null: it was made here.")
    agent_working_dir: str | None = Field(
        description="Directory of the agent, relative to that of the clones; null: the directory of the clones."
    )
    forked_from: UUID | None = Field(
        description="Workspace from whose recorded state it starts; null: it starts from a commit of the remote."
    )
    node_id: str | None = Field(description="Null until a node takes it.")
    pool: str
    image: str | None
    image_digest: str | None
    container: str | None = Field(description="Opaque reference; nothing needs to be known of it.")
    limits: LimitsOut
    sources: dict[str, str] = Field(
        description="Where `image`, `executor`, `agent_working_dir`, `limits.NAME` and `repos.NAME.FIELD` came from: "
        "`request`, `profile`, `project`, `repo` (the repository's defaults), the path of a job file, `agent` (the "
        "image of the agent) or `default`. Complete once the clone has ended."
    )
    masked_env: list[str] = Field(description="Variables of `env` whose values are masked in logs, texts and diffs.")
    setup_completed_at: datetime | None
    event_cursor: int = Field(description="Cursor of its latest event.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    task: TaskRef
    repos: list[WorkspaceRepoOut]
    dev_server: LiveDevServer | None
    links: WorkspaceLinks


class WorkspacePage(Output):
    """One page of workspaces."""

    items: list[WorkspaceOut]
    next_cursor: NextCursor


class ProjectRepoIn(Input):
    """Request field: a repository of a new project."""

    url: GitUrlText = Field(examples=["https://git.example.org/team/app.git"])
    setup_script: Script | None = Field(None, description="Of runs in this project that bring none.")
    cleanup_script: Script | None = Field(None, description="Of runs in this project that bring none.")
    copy_files: CopyFiles | None = Field(
        None,
        description="Patterns of files that git does not have and that workspaces get; null: the repository's.",
    )
    parallel_setup_script: bool | None = Field(None, description="Null: that of the repository.")


class FirstWorkspaceIn(JobIn):
    """Request field: a task of the new project, and the attempt at it that starts when the project is ready.

    The attempt is on all repositories of the project. It takes no `secrets` and `image_ids`, as the project is new.
    """

    title: ShortText = Field(description="Of the task.", examples=["Mend the parser"])
    description: Description | None = Field(None, description="Of the task.")
    prompt: Prompt | None = Field(None, description="Null: the task's title, an empty line and its description.")
    name: ShortText | None = Field(None, description="Name of the workspace; null: the task's title.")


class FirstWorkspaceOut(Output):
    """The first workspace that was asked for with the project."""

    state: FirstState = Field(
        description="`waiting` until the project is ready: also after a clone that failed, which can be repeated."
    )
    workspace_id: UUID | None = Field(description="Null unless it is `made`.")
    error: str | None = Field(description="Why it could not be made; null unless it has `failed`.")


class ProjectIn(IdleHoursIn):
    """Request for a new project."""

    name: ShortText
    default_image: ImageText | None = Field(None, description="Image of runs that name none.")
    default_agent_working_dir: AgentDir | None = None
    remote_project_id: StrictId | None = Field(
        None, description="Id of the project of another Relay, or other server, that this one stands for. Only stored."
    )
    default_for: GitUrlText | None = Field(
        None, description="URL of a repository whose runs without a `project_id` are to belong to this project."
    )
    repos: list[ProjectRepoIn] = Field(default_factory=list, max_length=50)
    first_workspace: FirstWorkspaceIn | None = Field(
        None, description="Start an attempt at a first task once the repositories are cloned. Null: none."
    )


class ProjectChange(IdleHoursIn):
    """A merge patch (RFC 7396): what is left out stays, null clears. Workspaces that exist do not change."""

    name: ShortText | None = Field(None, description="Null: it stays.")
    default_image: ImageText | None = Field(None, description="Image of runs that name none.")
    default_agent_working_dir: AgentDir | None = None
    remote_project_id: StrictId | None = Field(None, description="Id of the project that this one stands for.")
    default_for: GitUrlText | None = Field(
        None, description="URL of a repository whose runs without a `project_id` are to belong to this project."
    )


class ProjectRepoChange(Input):
    """A merge patch (RFC 7396) of what a project says about one of its repositories; null leaves it to that."""

    setup_script: Script | None = None
    cleanup_script: Script | None = None
    copy_files: CopyFiles | None = None
    parallel_setup_script: bool | None = None


class ProjectRepoOut(Output):
    """A repository of a project, and the state of its git mirror. What is null here is left to the repository."""

    repo_id: UUID
    name: str
    url: str
    setup_script: str | None
    cleanup_script: str | None
    copy_files: str | None
    parallel_setup_script: bool | None = Field(description="Null: that of the repository.")
    state: CloneState = Field(
        description="`ready` once a node has a mirror; until then `cloning`, or `failed` if the last fetch failed."
    )
    clone_error: str | None = Field(description="Why the last fetch failed.")


class ProjectOut(IdleHoursOut):
    """A project: a group of repositories and tasks."""

    id: UUID
    name: str
    default_image: str | None
    default_agent_working_dir: str | None
    remote_project_id: UUID | None
    default_for: str | None = Field(description="Repository whose runs without a `project_id` belong to it.")
    state: CloneState = Field(
        description="`ready` once one node has a mirror of every repository, `failed` if the latest clone failed and "
        "none has. No workspace is made on a project that is `cloning` or `failed`; runs clone by themselves."
    )
    clone_error: str | None = Field(description="Why the latest clone failed; null unless the state is `failed`.")
    first_workspace: FirstWorkspaceOut | None = Field(description="Null: none was asked for.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    repos: list[ProjectRepoOut]
    links: ProjectLinks


class ProjectPage(Output):
    """One page of projects."""

    items: list[ProjectOut]
    next_cursor: NextCursor


class TaskOut(Output):
    """A task: a unit of work. Each workspace of the task is one attempt at it."""

    id: UUID
    project_id: UUID
    title: str
    description: str | None
    status: TaskStatus
    parent_workspace_id: UUID | None = Field(description="The workspace of which it is a subtask.")
    workspace_ids: list[UUID] = Field(description="Attempts, in the order of creation.")
    usage: UsageOut = Field(description="What all turns of all attempts took: tokens, cost_usd, … by name.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    links: TaskLinks


class TaskPage(Output):
    """One page of tasks."""

    items: list[TaskOut]
    next_cursor: NextCursor


class Deleted(Output):
    """The resource that was marked as deleted; its nodes remove containers and files later."""

    id: UUID
    killed: int = Field(description="Running executions that were asked to end.")
