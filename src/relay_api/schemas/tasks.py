"""Schemas of requests for tasks and their attempts, and of the attempts side by side."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Description, Input, Output, Prompt, ShortText
from relay_api.schemas.images import ImageIds
from relay_api.schemas.links import AttemptLinks
from relay_api.schemas.measures import StatOut, UsageOut
from relay_api.schemas.runs import JobIn, RepoUseIn, RunOut
from relay_api.schemas.workspaces import TaskOut
from relay_core.domain.vocabulary import Conclusion, RunStatus, TaskStatus, WorkspaceState

_PARENT = "A workspace, or the first 4 or more characters of its id, that makes this a subtask; of the same project."


class AttemptRepoIn(RepoUseIn):
    """A repository of the task's project, with its branches and scripts in the attempt."""

    repo: ShortText = Field(
        description="Name, URL or id of a repository of the project, or the first 4 or more characters of the id.",
        examples=["app"],
    )


class AttemptIn(JobIn):
    """Request for an attempt at a task: a workspace of its own in which the agent works."""

    repos: list[AttemptRepoIn] | None = Field(
        None, min_length=1, max_length=20, description="Null: all repositories of the project."
    )
    from_workspace: ShortText | None = Field(
        None,
        description="A workspace of the project (4 or more characters of its id suffice), from whose recorded state "
        "the branches start (a fork): with what was not committed there, on the same node, with the same repositories "
        "and target branches. It may be archived. Left out: a subtask starts from its parent workspace, if all of that "
        "is recorded, has the `repos`, none of which names a `ref`, and its node takes the workspace; else the "
        "branches start from the remote, as with null. `forked_from` of the workspace tells which.",
    )
    from_execution: ShortText | None = Field(
        None,
        description="Execution of `from_workspace`, or the first 4 or more characters of its id, after which the state "
        "was recorded. Null: the latest state.",
    )
    prompt: Prompt | None = Field(None, description="Null: the task's title, an empty line and its description.")
    name: ShortText | None = Field(
        None, description="Name of the workspace and title of its run; null: the task's title."
    )


class TaskIn(Input):
    """Request for a task, and for its first attempt if it has `start`."""

    project_id: ShortText = Field(
        description="The project's name or id, or the first 4 or more characters of the id.", examples=["shop"]
    )
    title: ShortText
    description: Description | None = None
    parent_workspace_id: ShortText | None = Field(None, description=_PARENT)
    image_ids: ImageIds = Field(default_factory=list)
    start: AttemptIn | None = Field(None, description="Start an attempt at once. Null: the task waits as `todo`.")


class TaskChange(Input):
    """A merge patch (RFC 7396): what is left out stays, null clears."""

    title: ShortText | None = Field(None, description="Null: it stays.")
    description: Description | None = None
    status: TaskStatus | None = Field(
        None,
        description="`todo`, `done` or `cancelled`; the others follow from the steps of the workspaces. Steps that run "
        "go on, and no step moves a task away from `done` or `cancelled`. Null: it stays.",
        strict=False,
    )
    parent_workspace_id: ShortText | None = Field(None, description=_PARENT)


class TaskCreated(TaskOut):
    """The new task, and the run of its first attempt."""

    started: RunOut | None = Field(description="Null: no attempt was asked for.")


class AttemptRepoOut(Output):
    """A repository of an attempt."""

    name: str
    target_branch: str | None
    base_commit: str | None = Field(description="Where the attempt's branch started.")
    head_commit: str | None = Field(description="HEAD of the latest recorded state.")
    stat: StatOut | None = Field(description="Size of the diff from the base; null: no state is recorded.")


class AttemptOut(Output):
    """One attempt at a task, to be compared with the others."""

    workspace_id: UUID
    name: str | None
    branch: str
    state: WorkspaceState
    archived: bool
    executor: str | None = Field(description="Of its latest session.")
    model: str | None = Field(description="Of its latest session; null: the agent's default.")
    run_id: UUID | None = Field(description="Its latest run.")
    status: RunStatus | None = Field(description="Of its latest run.")
    conclusion: Conclusion | None = Field(description="Of its latest run; null until that is completed.")
    runs: int = Field(description="Number of its runs.")
    started_at: datetime | None = Field(description="When its first run started.")
    completed_at: datetime | None = Field(description="When its latest run ended; null while that runs.")
    seconds: float = Field(description="Time that its runs took together, from the start to the end of each.")
    usage: UsageOut = Field(description="What all turns of its agents took: tokens, cost_usd, … by name.")
    stat: StatOut | None = Field(description="Sum over its repositories; null: no state is recorded.")
    repos: list[AttemptRepoOut]
    created_at: datetime
    links: AttemptLinks


class AttemptList(Output):
    """The attempts at a task, in the order of their creation."""

    items: list[AttemptOut]
