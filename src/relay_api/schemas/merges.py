"""Schemas of merges and rebases."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import BranchText, Input, NextCursor, Output, Prompt, ShortText
from relay_api.schemas.patterns import VARIABLE
from relay_core.domain.vocabulary import MergeKind, MergeMethod, MergeStatus


class MergePreviewIn(Input):
    """Request for the preview of a merge."""

    repo: ShortText | None = Field(None, description="Name of the repository; needed when the workspace has several.")
    target_branch: BranchText | None = Field(
        None, description="Branch of the remote; null: the target branch of the workspace."
    )
    kind: Literal["direct", "pr"] = Field(
        "direct",
        description="`direct`: Relay pushes a commit to the target branch; `pr`: it opens a pull request.",
    )
    method: Literal["squash", "merge"] = Field(
        "squash", description="`squash`: one commit with all changes; `merge`: a commit with two parents."
    )
    message: Prompt | None = Field(
        None,
        description="Message of the commit, or title and text of the pull request; null: made of the task's title and "
        "description.",
    )


class MergeIn(MergePreviewIn):
    """Request to merge the commits of a repository into its target branch."""

    generation: ShortText | None = Field(
        None, description="Of a preview: if anything has changed since, the answer is 409 `stale_generation`."
    )
    token_secret: Annotated[str, StringConstraints(max_length=255, pattern=VARIABLE)] | None = Field(
        None,
        description="Of `pr`: name of the project's secret with the token; null: `GITHUB_TOKEN` or `GITLAB_TOKEN`.",
    )


class RebaseIn(Input):
    """Request to move the commits of a clone onto the present commit of its target branch."""

    repo: ShortText | None = Field(None, description="Name of the repository; needed when the workspace has several.")
    target_branch: BranchText | None = Field(
        None, description="Branch of the remote; null: the target branch of the workspace."
    )


class BlockerOut(Output):
    """A reason why a merge would be refused now."""

    code: str
    message: str


class MergePreviewOut(Output):
    """The preview of a merge: its changes, and what stands in its way. Nothing has changed."""

    generation: str = Field(description="To be sent with the merge; it changes with anything that the preview tells.")
    repo: str
    target_branch: str | None
    source_commit: str | None = Field(
        description="HEAD after the latest recorded step; what is merged is HEAD when the merge's turn comes."
    )
    message: str
    blockers: list[BlockerOut]
    warnings: list[str]
    mutations: list[str] = Field(description="What would change, and where.")


class PrInfoOut(Output):
    """A pull request, or merge request, as its host last told."""

    number: int
    url: str
    status: Literal["open", "merged", "closed"]
    merged_at: datetime | None
    merge_commit_sha: str | None
    checked_at: datetime | None = Field(description="When its host was last asked.")
    problem: str | None = Field(description="Why the last question failed; null: it did not.")


class MergeOut(Output):
    """A merge of one repository of a workspace."""

    id: UUID
    project_id: UUID
    task_id: UUID
    workspace_id: UUID
    repo_id: UUID
    repo: str = Field(description="Name of the repository in the workspace.")
    execution_id: UUID | None = Field(description="The latest execution that carries it out.")
    run_id: UUID | None
    kind: MergeKind
    method: MergeMethod
    status: MergeStatus
    target_branch_name: str
    message: str
    source_commit: str | None = Field(description="HEAD of the workspace that was merged; null until it is recorded.")
    target_commit: str | None = Field(description="Commit of the target branch on which the merge's commit was made.")
    merge_commit: str | None = Field(description="Commit by which the target branch got the work; null until then.")
    merged_at: datetime | None
    conflicts: list[str] | None = Field(description="Paths that both sides changed, at most 100; null: no conflict.")
    error_reason: str | None = Field(description="Of a failed merge: the reason as a sentence for people.")
    pr_info: PrInfoOut | None = Field(description="Of a pull request that exists.")
    created_by: str
    created_at: datetime
    updated_at: datetime


class MergePage(Output):
    """One page of merges."""

    items: list[MergeOut]
    next_cursor: NextCursor
