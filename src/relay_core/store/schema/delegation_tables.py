"""Tables of the write leases of subtasks, and of what a workspace may lease."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.child_sight import ReclaimReason
from relay_core.domain.scope import DelegationState
from relay_core.store.schema.base import Base, created, one_of


class ScopeDelegation(Base):
    """A write lease: a workspace has given a part of what it may write to the workspace of a subtask."""

    __tablename__ = "scope_delegations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    parent_workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    """The end of a delegation gives those of its child to its parent, so this column may change."""
    child_workspace_id: Mapped[UUID]
    """No foreign key: the record holds, and can be reclaimed, whether or not the workspace exists."""
    rules: Mapped[Any] = mapped_column(JSONB)
    """`domain.scope.rules_to_json`."""
    state: Mapped[str] = mapped_column(server_default=DelegationState.RESERVED)
    epoch: Mapped[int] = mapped_column(server_default=text("1"))
    """Grows when the delegation ends, so a request that names the one before is refused."""
    unverified: Mapped[str | None]
    """Why it was not known at the last look whether its workspace can still write."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime]
    """End of the reservation; without meaning once it is adopted."""
    adopted_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    reclaim_reason: Mapped[str | None]
    noticed_in: Mapped[UUID | None]
    """The turn whose prompt told the parent's agent of the reclaim; null: none has yet."""

    __table_args__ = (
        one_of("state", DelegationState, "scope_delegations_state"),
        one_of("reclaim_reason", ReclaimReason, "scope_delegations_reason"),
        CheckConstraint("(state = 'reclaimed') = (reclaim_reason IS NOT NULL)", name="scope_delegations_reclaimed"),
        CheckConstraint("(state IN ('reserved', 'active')) = (ended_at IS NULL)", name="scope_delegations_ended"),
        UniqueConstraint("child_workspace_id", name="scope_delegations_child"),
        Index("scope_delegations_of_parent", "parent_workspace_id", "created_at", "id"),
        Index("scope_delegations_newest", "created_at", "id"),
    )


class WorkspaceScope(Base):
    """The paths that a workspace may lease, and those denied to it. Without a row it may lease nothing."""

    __tablename__ = "workspace_scopes"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    delegable: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    """Rules (`domain.scope.rules_to_json`); null: it may lease nothing."""
    denied: Mapped[Any] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """Rules: what the workspace may not write, whatever it holds."""
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
