"""Schemas of a run as a resource: its status, its conclusion and what it made."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import NextCursor, Output
from relay_api.schemas.executions import ProgressOut, QueueOut, WaitOut
from relay_api.schemas.links import RunLinks
from relay_api.schemas.measures import StatOut, UsageOut
from relay_core.domain.vocabulary import Conclusion, Priority, Reason, RunKind, RunReason, RunStatus, Status


class _StepOut(Output):
    """A step of a run."""

    execution_id: UUID
    run_reason: RunReason
    repo: str | None = Field(description="Name of the repository whose script it is.")
    status: Status


class CurrentStepOut(_StepOut):
    """The step of a run that runs now, or is the next to start."""

    progress: ProgressOut | None = Field(description="Of a running clone that has told its progress.")


class FailedStepOut(_StepOut):
    """The step that decided the conclusion of a run that was no success."""

    reason: Reason
    exit_code: int | None
    message: str | None = Field(description="The reason as a sentence for people.")


class RunProject(Output):
    """The project of a run."""

    id: UUID
    name: str


class RunRepoOut(Output):
    """A repository of a run."""

    name: str = Field(description="Directory of its clone.")
    url: str
    target_branch: str | None
    ref: str | None = Field(description="Branch, tag or commit that the request named as the start; null: none.")
    base_commit: str | None = Field(description="Where the workspace's branch started.")
    stat: StatOut | None = Field(description="Null until a step has recorded a diff.")


class RunSourceOut(Output):
    """Where a repository of a run came from."""

    repo: str = Field(description="Name of the repository.")
    url: str = Field(description="What was cloned: a URL, for a path a `file://` URL; never with credentials.")
    ref: str | None = Field(description="Branch, tag or commit that the request named as the start; null: none.")
    target_branch: str | None = Field(
        description="Branch to merge into, and the start if `ref` is null. Null: the default branch, not yet known."
    )
    commit: str | None = Field(
        description="Where the work of this run began: of a job, the start as it was cloned; of a later run, HEAD "
        "before its first step. Null until then."
    )


class TimingsOut(Output):
    """How long a run waited, prepared and worked. A value is null while it is not known."""

    queue_seconds: float | None = Field(description="From the request until a worker took the first step.")
    start_seconds: float | None = Field(
        description="From there until a worker took the agent's step (of a run without agent: the only step)."
    )
    run_seconds: float | None = Field(description="From there until the end of the run.")


class RunDetail(Output):
    """A run: the chain of executions that one request started."""

    id: UUID
    kind: RunKind
    title: str
    labels: dict[str, str] = Field(description="Names and values by which the run is found again.")
    metadata: dict[str, Any] = Field(
        description="The JSON object that the request gave, as it is.",
        examples=[{"ticket": "APP-12", "reviewers": ["ann"]}],
    )
    priority: Priority
    needs: list[str] = Field(description="Capabilities that the node of the workspace has to declare.")
    status: RunStatus
    conclusion: Conclusion | None = Field(description="Null until the run is completed.")
    reason: Reason | None = Field(description="Why the deciding step failed or was killed; null after a success.")
    message: str | None = Field(description="The reason as a sentence for people.")
    advice: str | None = Field(description="What to do about it.")
    exit_code: int | None = Field(description="Of the deciding step; after a success, of the agent.")
    failed_step: FailedStepOut | None
    current_step: CurrentStepOut | None
    waits_for: WaitOut | None = Field(description="What the current step waits for while it is queued.")
    queue: QueueOut | None = Field(description="What the current step waits for while it is queued.")
    project: RunProject
    task_id: UUID
    workspace_id: UUID
    session_id: UUID
    agent_execution_id: UUID | None = Field(description="The latest execution of the agent in this run.")
    executor: str | None
    repos: list[RunRepoOut]
    sources: list[RunSourceOut] = Field(description="Where each of the repositories came from.")
    branch: str
    pull_request: None = Field(description="Always null: Relay opens no pull requests yet.")
    stat: StatOut | None = Field(description="Sum over the repositories.")
    usage: UsageOut | None = Field(description="What the agent's turns took: tokens, cost_usd, … by name.")
    timings: TimingsOut
    created_by: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    rerun_of: UUID | None = Field(description="The run that this one repeats.")
    node_id: str | None
    image: str | None
    links: RunLinks


class RunPage(Output):
    """A page of runs."""

    items: list[RunDetail]
    next_cursor: NextCursor
