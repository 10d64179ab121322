"""The table of runs."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import Conclusion, RunKind, RunStatus
from relay_core.store.schema.base import Base, created, one_of


class Run(Base):
    """The chain of executions that one request started: a job, a follow-up, or a further step of a workspace.

    Status, conclusion, deciding execution and times follow from the executions (`relay_core.domain.run`); the
    transaction that changes an execution writes them. Their writers hold the lock on the workspace's lane.
    """

    __tablename__ = "runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    """Project of the workspace's task, which never changes; stored for lists of a project."""
    owner: Mapped[str]
    """Owner of the workspace, which never changes; stored for lists of an owner."""
    kind: Mapped[str]
    title: Mapped[str]
    labels: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """{text: text}"""
    # `metadata` is a reserved name of SQLAlchemy's classes.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'::jsonb"))
    """Any JSON object of the client."""
    status: Mapped[str] = mapped_column(server_default=RunStatus.QUEUED)
    conclusion: Mapped[str | None]
    deciding_execution_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("execution_processes.id", use_alter=True, name="runs_deciding_execution")
    )
    """The execution that decided a conclusion other than `success`."""
    rerun_of: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"))
    created_by: Mapped[str]
    """Owner of the token with which the run was requested."""
    priority: Mapped[int] = mapped_column(server_default=text("1"))
    """Level of its `Priority`."""
    admitted_at: Mapped[datetime | None]
    """When it was last admitted: from then until it is completed it counts in limits, and messages of it are sent.

    Null: it waits, or was never admitted. Only the admission and `runs.state` write it.
    """
    admission_group: Mapped[str] = mapped_column(server_default=text("''"))
    """Pool, needs and node that its workspace had when the run was created.

    Of large groups of waiting runs only the oldest ones are read (`store.admission.facts`).
    """
    created_at: Mapped[datetime] = created()
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("kind", RunKind, "runs_kind"),
        one_of("status", RunStatus, "runs_status"),
        one_of("conclusion", Conclusion, "runs_conclusion"),
        CheckConstraint("(status = 'completed') = (conclusion IS NOT NULL)", name="runs_final"),
        CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="runs_completed"),
        CheckConstraint("(deciding_execution_id IS NOT NULL) = (conclusion <> 'success')", name="runs_decided"),
        CheckConstraint("priority BETWEEN 0 AND 2", name="runs_priority"),
        Index(
            "runs_waiting",
            "admission_group",
            "project_id",
            "owner",
            "priority",
            "created_at",
            "id",
            postgresql_where=text("admitted_at IS NULL AND status <> 'completed'"),
        ),
        Index(
            "runs_admitted",
            "project_id",
            "owner",
            "workspace_id",
            postgresql_where=text("admitted_at IS NOT NULL AND status <> 'completed'"),
        ),
        Index("runs_newest", "created_at", "id"),
        Index("runs_of_owner", "owner", "created_at", "id"),
        Index("runs_of_project", "project_id", "created_at", "id"),
        Index("runs_of_workspace", "workspace_id", "created_at", "id"),
        Index("runs_of_conclusion", "conclusion", "created_at", "id", "owner"),
        Index("runs_active", "owner", "created_at", "id", postgresql_where=text("status <> 'completed'")),
        Index(
            "runs_labels",
            "labels",
            postgresql_using="gin",
            postgresql_ops={"labels": "jsonb_path_ops"},
            postgresql_where=text("labels <> '{}'::jsonb"),
        ),
        Index("runs_title", text("relay_grams(title)"), postgresql_using="gin"),
        Index("runs_rerun_of", "rerun_of", postgresql_where=text("rerun_of IS NOT NULL")),
    )
