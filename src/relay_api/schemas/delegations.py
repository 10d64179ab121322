"""Schemas of delegations: write leases of subtasks."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, NextCursor, Output, ShortText
from relay_api.schemas.patterns import DELEGATION_NAME, NO_NUL
from relay_core.domain.child_sight import ReclaimReason
from relay_core.domain.scope import MOST_PATH_CHARACTERS, MOST_RULES, DelegationState, Permission

RepoName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_NUL)]
PathText = Annotated[str, StringConstraints(max_length=MOST_PATH_CHARACTERS, pattern=NO_NUL)]
DelegationName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=DELEGATION_NAME)]


class ScopeRuleIn(Input):
    """Paths of a repository of the workspace."""

    repo: RepoName | None = Field(None, description="Its name in the workspace; null: the only one.")
    path: PathText = Field(
        "", description="File, or directory with all below it, relative to the repository; empty: the whole branch."
    )
    permission: Literal["read", "write"] = Field("write", description="Rules to read never conflict.")


class ScopeRuleOut(Output):
    """Paths of a repository of the workspace."""

    repo: str
    path: str = Field(description="Empty: the whole branch.")
    permission: Permission


class DelegationIn(Input):
    """Request to lease a part of what a workspace may write to the workspace of a subtask."""

    parent_workspace_id: ShortText = Field(description="Id of the workspace, or its beginning.")
    child_workspace_id: ShortText = Field(
        description="Id, or its beginning, of a workspace of the same project that takes part in no delegation."
    )
    name: DelegationName = Field(description="Name for people; not `.` or `..`, and without a slash.")
    rules: list[ScopeRuleIn] = Field(min_length=1, max_length=MOST_RULES)
    reservation_seconds: float = Field(
        3600, gt=0, le=30 * 86400, description="How long the lease is kept until the workspace starts its first step."
    )


class Release(Input):
    """Request to end a delegation."""

    epoch: int | None = Field(
        None, ge=1, le=2**31, description="Epoch that the client knows: another one is refused. Null: any."
    )


class DelegationOut(Output):
    """A write lease: what a workspace of a subtask may write, and its parent may not."""

    id: UUID
    name: str
    parent_workspace_id: UUID = Field(description="The end of a delegation gives those of its child to its parent.")
    child_workspace_id: UUID = Field(description="The workspace may be gone.")
    rules: list[ScopeRuleOut]
    state: DelegationState
    expired: bool = Field(description="Whether it is a reservation whose time is over; it holds nothing then.")
    epoch: int = Field(description="Grows when the delegation ends.")
    unverified: str | None = Field(
        description="Why it was not known at the last look whether its workspace can still write; null: it was known."
    )
    created_by: str
    created_at: datetime
    expires_at: datetime = Field(description="End of the reservation.")
    adopted_at: datetime | None = Field(description="When its workspace began to use it.")
    ended_at: datetime | None
    reclaim_reason: ReclaimReason | None = Field(description="Why it was taken back; null: it was not.")
    noticed_in: UUID | None = Field(
        description="The agent's turn whose prompt told of the reclaim; null: none has, or there was nothing to tell."
    )


class DelegationPage(Output):
    """A page of delegations."""

    items: list[DelegationOut]
    next_cursor: NextCursor


class ScopeIn(Input):
    """The paths that a workspace may lease, and those that are denied to it."""

    delegable: list[ScopeRuleIn] | None = Field(
        None, max_length=MOST_RULES, description="What it may lease to subtasks; null: nothing."
    )
    denied: list[ScopeRuleIn] = Field(
        default_factory=list, max_length=MOST_RULES, description="What it may not write, whatever it holds."
    )


class ScopeOut(Output):
    """The scope of a workspace, derived from its leases, and what it may lease."""

    workspace_id: UUID
    restricted: bool = Field(description="Whether there is anything that it may not write.")
    held: list[ScopeRuleOut] | None = Field(
        description="What was leased to it; null: all of its repositories are its own."
    )
    excluded: list[ScopeRuleOut] = Field(description="What it has leased to others, and what is denied to it.")
    delegable: list[ScopeRuleOut] | None = Field(description="What it may lease; null: nothing.")
    denied: list[ScopeRuleOut]
