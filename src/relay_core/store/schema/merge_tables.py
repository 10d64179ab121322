"""The table of merges: work of a workspace that gets into the target branch of one of its repositories."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import MergeKind, MergeMethod
from relay_core.store.schema.base import Base, created, one_of


class Merge(Base):
    """A merge of one repository of a workspace: directly, or by a pull request.

    Its status is stored nowhere: it follows from `merged_at`, from `pr_status`, and from the execution.
    """

    __tablename__ = "merges"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"))
    execution_id: Mapped[UUID | None] = mapped_column(ForeignKey("execution_processes.id"))
    """The latest execution that carries it out: a retry takes the place of the one that it repeats."""
    kind: Mapped[str]
    method: Mapped[str]
    """The commit of a direct merge; of a pull request: what is asked for, which the other side may do otherwise."""
    target_branch_name: Mapped[str]
    message: Mapped[str]
    source_commit: Mapped[str | None]
    """HEAD of the workspace that is merged; null until the execution has recorded it."""
    target_commit: Mapped[str | None]
    """Commit of the target branch on which `prepared_commit` was made."""
    prepared_commit: Mapped[str | None]
    """The commit to push, stored before the first push; a worker that takes the merge over pushes this one."""
    merge_commit: Mapped[str | None]
    """The commit by which the target branch got the work; null until it has it."""
    merged_at: Mapped[datetime | None]
    conflicts: Mapped[list[str] | None]
    """Paths that both sides changed, at most 100; null if there was no conflict."""
    pr_number: Mapped[int | None]
    pr_url: Mapped[str | None]
    pr_status: Mapped[str | None]
    pr_token_secret: Mapped[str | None]
    """Name of the project's secret with the token for the host of the pull request."""
    pr_checked_at: Mapped[datetime | None]
    """When the host of the pull request was last asked for its status."""
    pr_problem: Mapped[str | None]
    """Why the last question failed, without credentials; null if it did not."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    __table_args__ = (
        one_of("kind", MergeKind, "merges_kind"),
        one_of("method", MergeMethod, "merges_method"),
        CheckConstraint("pr_status IN ('open', 'merged', 'closed')", name="merges_pr_status"),
        CheckConstraint("(pr_status IS NULL) = (pr_number IS NULL)", name="merges_pr_number"),
        CheckConstraint("kind = 'pr' OR pr_number IS NULL", name="merges_pr_fields"),
        CheckConstraint("kind = 'pr' OR (merged_at IS NULL) = (merge_commit IS NULL)", name="merges_merged"),
        Index("merges_of_workspace", "workspace_id", "created_at", "id"),
        Index("merges_newest", "created_at", "id"),
        Index(
            "merges_due",
            text("pr_checked_at NULLS FIRST"),
            "id",
            postgresql_where=text("pr_number IS NOT NULL AND (pr_checked_at IS NULL OR pr_status = 'open')"),
        ),
    )
