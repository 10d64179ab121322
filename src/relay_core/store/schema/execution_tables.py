"""Tables of executions, their recorded git states, and the turns and conversations of agents."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Computed, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import EvidenceState, Reason, RunReason, Status
from relay_core.store.schema.base import Base, created, one_of


class ExecutionProcess(Base):
    """One execution of one step; its id is also the operation id of its events."""

    __tablename__ = "execution_processes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("sessions.id"))
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id"))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", name="execution_project_exists"))
    """The project that it clones; only a clone without workspace and session names one."""
    pool: Mapped[str | None]
    """Pool whose nodes may take it; null: that of its workspace."""
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", name="execution_run_exists"))
    """The run that it is part of; null for dev servers and archive scripts, which belong to the workspace."""
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
    """Place in the lane's queue; all steps of one chain share it, so no other step comes between them."""
    lane_group_id: Mapped[UUID | None] = mapped_column(
        Computed("CASE WHEN status = 'running' AND run_reason <> 'dev_server' THEN group_id END", persisted=True)
    )
    """The step group, while the execution runs in the lane; else null.

    A foreign key makes sure that this group holds the lane.
    """
    # ownership
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    task_id: Mapped[UUID]
    """Celery's id of this attempt: a hash of execution id and attempt, stored because revokes name only it."""
    fence: Mapped[int] = mapped_column(server_default=text("0"))
    """Number that grows with each claim or takeover; a write of an owner has no effect with an older one."""
    owner: Mapped[str | None]
    """Incarnation (one life of a worker process) that holds it; the lease is that of the row in `incarnations`."""
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"))
    """Node on which it runs or ran.

    While it is queued as part of a chain that has begun: the node that reserves capacity for it.
    """
    handle: Mapped[dict[str, Any] | None]
    """Where to find the process: {version, gid, fence, run_dir, exec_id, port, forward_port} of a `ProcessHandle`."""
    kill_requested_at: Mapped[datetime | None]
    kill_requested_by: Mapped[str | None]
    deadline_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    publish_count: Mapped[int] = mapped_column(server_default=text("0"))
    event_sequence: Mapped[int] = mapped_column(server_default=text("0"))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("execution_processes.id"))
    """The execution that this one repeats.

    An execution can be retried once; after that, the retry can be retried.
    """
    leftover_on: Mapped[str | None]
    """Node whose container may still hold processes of the ended execution.

    Null: there are none, or the node has killed them.
    """

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
        CheckConstraint("status <> 'running' OR owner IS NOT NULL", name="execution_owned"),
        CheckConstraint(
            "CASE WHEN workspace_id IS NULL THEN run_reason = 'clone' AND project_id IS NOT NULL AND pool IS NOT NULL "
            "AND session_id IS NULL AND run_id IS NULL "
            "ELSE session_id IS NOT NULL AND project_id IS NULL AND pool IS NULL END",
            name="execution_place",
        ),
        ForeignKeyConstraint(
            ["workspace_id", "lane_group_id"], ["lanes.workspace_id", "lanes.group_id"], name="execution_holds_lane"
        ),
        Index("execution_workspace", "workspace_id", "created_at", "id"),
        Index("execution_run", "run_id", "created_at", postgresql_where=text("run_id IS NOT NULL")),
        Index(
            "execution_last_of_lane",
            "workspace_id",
            text("lane_position DESC"),
            text("started_at DESC"),
            postgresql_where=text("started_at IS NOT NULL AND run_reason <> 'dev_server'"),
        ),
        Index("execution_session", "session_id"),
        Index("execution_of_project", "project_id", "created_at", postgresql_where=text("project_id IS NOT NULL")),
        Index("execution_active", "status", "node_id", postgresql_where=text("status IN ('queued', 'running')")),
        Index("execution_of_owner", "owner", "kill_requested_at", postgresql_where=text("status = 'running'")),
        Index("execution_newest", "created_at", "id"),
        Index(
            "execution_unsuccessful",
            "status",
            "created_at",
            "id",
            "run_reason",
            postgresql_where=text("status IN ('failed', 'killed')"),
        ),
        Index(
            "execution_beside_runs",
            "run_reason",
            "created_at",
            "id",
            postgresql_where=text("run_reason IN ('dev_server', 'archive_script')"),
        ),
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
    """The recorded git state of one repo before and after one execution."""

    __tablename__ = "execution_process_repo_states"

    execution_process_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    before_head_commit: Mapped[str | None]
    after_head_commit: Mapped[str | None]
    merge_commit: Mapped[str | None]
    after_state: Mapped[str] = mapped_column(server_default=EvidenceState.PENDING)
    branch: Mapped[str | None]
    """Branch that HEAD was on after the execution; null if HEAD was detached."""
    dirty: Mapped[bool | None]
    summary: Mapped[dict[str, Any] | None]
    """Number of modified and untracked files, and the first of their paths."""
    pinned_commit: Mapped[str | None]
    """The whole work tree as a commit.

    It is kept in Relay's bare repository of the workspace under refs/relay/<execution id>.
    """
    committed: Mapped[str | None]
    """The commit that Relay made after the step, if it made one."""
    problem: Mapped[str | None]
    """Why a part of the git state could not be recorded."""
    patch: Mapped[bytes | None]
    """The diff from the workspace's base commit to `pinned_commit`, compressed with zstd."""
    step_patch: Mapped[bytes | None]
    """The diff from `before_head_commit`, compressed with zstd; null if it equals `patch`."""
    run_patch: Mapped[bytes | None]
    """The diff from HEAD before the run, compressed with zstd; null if it equals `patch` or `step_patch`."""
    stat: Mapped[dict[str, Any] | None]
    """{files, insertions, deletions, truncated} of `patch`; in `step` the same of `step_patch`.

    In `run` the same of the run's diff, with the commit `base` from which it leads; missing if that diff is `patch`.
    """
    bundle: Mapped[bytes | None]
    """Git bundle of the commits from the workspace's base commit to `pinned_commit`.

    Null if another state of the same clone, with the same pinned commit, has it, or if there is none.
    """
    bundle_problem: Mapped[str | None]
    """Why there is no bundle of `pinned_commit`; null if there is one, or if nothing is pinned or changed."""

    __table_args__ = (one_of("after_state", EvidenceState, "repo_state_after_state"),)


class CodingAgentTurn(Base):
    """One turn of an agent: a prompt and the agent's answer."""

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
    """One entry of an agent's conversation, as it is now; `sequence` is the number of its last change."""

    __tablename__ = "conversation_entries"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    """The entry as JSON: `Entry.as_json` of relay_core.domain.agents.conversation."""
    created_at: Mapped[datetime] = created()

    __table_args__ = (Index("conversation_sequence", "execution_id", "sequence", unique=True),)
