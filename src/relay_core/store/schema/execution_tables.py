"""Tables of executions, the evidence of their steps, agents' turns and conversations."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Computed, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.store.schema.base import Base, created, one_of


class ExecutionProcess(Base):
    """One execution of one step; its id is the operation id of its events."""

    __tablename__ = "execution_processes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    run_reason: Mapped[str]
    executor_action: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default=Status.QUEUED)
    reason: Mapped[str | None]
    error_reason: Mapped[str | None]
    exit_code: Mapped[int | None]
    dropped: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = created()
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    created_by: Mapped[str]
    # lane
    group_id: Mapped[UUID] = mapped_column(default=uuid4)
    lane_position: Mapped[int] = mapped_column(server_default=text("nextval('lane_positions')"))
    """Place in the lane's queue; the steps of one chain share it, so that no other step comes between."""
    lane_group_id: Mapped[UUID | None] = mapped_column(
        Computed("CASE WHEN status = 'running' AND run_reason <> 'dev_server' THEN group_id END", persisted=True)
    )
    """Set while it runs in the lane; must then name the lane's holder (foreign key)."""
    # ownership
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    task_id: Mapped[UUID]
    """Celery's id of this attempt: a revoke names nothing else, and it is a hash."""
    fence: Mapped[int] = mapped_column(server_default=text("0"))
    """Grows with each claim; every write of an owner is conditional on it."""
    owner: Mapped[str | None]
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"))
    """Where it runs or ran; while it is queued: the node that keeps room for it, as its chain is going on there."""
    lease_until: Mapped[datetime | None]
    handle: Mapped[dict[str, Any] | None]
    """A `ProcessHandle` (domain/process_handle.py): {version, gid, fence, run_dir, exec_id, port, forward_port}."""
    kill_requested_at: Mapped[datetime | None]
    kill_requested_by: Mapped[str | None]
    deadline_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    publish_count: Mapped[int] = mapped_column(server_default=text("0"))
    event_sequence: Mapped[int] = mapped_column(server_default=text("0"))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("execution_processes.id"))
    """The execution that this one repeats; each is repeated once, then its repetition is."""
    leftover_on: Mapped[str | None]
    """Node that lost it and whose container may still hold its processes; null once they are ended."""

    __table_args__ = (
        one_of("status", Status, "execution_status"),
        one_of("run_reason", RunReason, "execution_run_reason"),
        one_of("reason", Reason, "execution_reason"),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'killed')) = (completed_at IS NOT NULL)", name="execution_final"
        ),
        CheckConstraint("status <> 'queued' OR started_at IS NULL", name="execution_queued_not_started"),
        CheckConstraint("status NOT IN ('running', 'completed') OR started_at IS NOT NULL", name="execution_started"),
        CheckConstraint("(status IN ('failed', 'killed')) = (reason IS NOT NULL)", name="execution_has_reason"),
        CheckConstraint(
            "status <> 'running' OR (owner IS NOT NULL AND lease_until IS NOT NULL)", name="execution_owned"
        ),
        ForeignKeyConstraint(
            ["workspace_id", "lane_group_id"], ["lanes.workspace_id", "lanes.group_id"], name="execution_holds_lane"
        ),
        Index("execution_workspace", "workspace_id", "created_at", "id"),
        Index("execution_session", "session_id"),
        Index("execution_active", "status", "node_id", postgresql_where=text("status IN ('queued', 'running')")),
        Index("execution_newest", "created_at", "id"),
        Index("execution_retry", "retry_of", unique=True, postgresql_where=text("retry_of IS NOT NULL")),
        Index("execution_leftover", "leftover_on", postgresql_where=text("leftover_on IS NOT NULL")),
        Index("execution_task", "task_id", unique=True),
        Index(
            "execution_one_follow_up",
            "session_id",
            unique=True,
            postgresql_where=text(
                "status = 'queued' AND run_reason = 'coding_agent' AND (executor_action #> '{step,follow_up}') = 'true'"
            ),
        ),
    )


class ExecutionProcessRepoState(Base):
    """Git evidence of one repo before and after one execution."""

    __tablename__ = "execution_process_repo_states"

    execution_process_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    before_head_commit: Mapped[str | None]
    after_head_commit: Mapped[str | None]
    merge_commit: Mapped[str | None]
    branch: Mapped[str | None]
    """Branch that HEAD was on afterwards; null when detached."""
    dirty: Mapped[bool | None]
    summary: Mapped[dict[str, Any] | None]
    """Counts and first paths of what is modified and untracked."""
    pinned_commit: Mapped[str | None]
    """The whole work tree as a commit, kept in the workspace's store under refs/relay/<execution id>."""
    committed: Mapped[str | None]
    """The commit that Relay itself made, if it made one."""
    problem: Mapped[str | None]
    """Why a part of the evidence could not be taken."""
    patch: Mapped[bytes | None]
    """zstd of the diff of the pinned state against the workspace's base commit."""
    step_patch: Mapped[bytes | None]
    """zstd of the diff against before_head_commit; null when it equals `patch`."""
    stat: Mapped[dict[str, Any] | None]
    """{files, insertions, deletions, truncated} of `patch`; `step` the same of `step_patch`."""


class CodingAgentTurn(Base):
    """One prompt and its answer."""

    __tablename__ = "coding_agent_turns"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    execution_process_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), unique=True)
    agent_session_id: Mapped[str | None]
    agent_message_id: Mapped[str | None]
    prompt: Mapped[str | None]
    summary: Mapped[str | None]
    usage: Mapped[dict[str, Any] | None]
    seen: Mapped[bool] = mapped_column(server_default=text("false"))


class ConversationEntry(Base):
    """One entry of a conversation in its present state; `sequence` is the number of its last change."""

    __tablename__ = "conversation_entries"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    """{text, tool, usage, truncated} (relay_core.domain.agents.conversation)."""
    created_at: Mapped[datetime] = created()

    __table_args__ = (Index("conversation_sequence", "execution_id", "sequence", unique=True),)
