"""The schema of the whole main job"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE lane_positions")
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key"),
    )
    op.create_table(
        "log_chunks",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("start_offset", sa.BigInteger(), nullable=False),
        sa.Column("all_offset", sa.BigInteger(), nullable=False),
        sa.Column("byte_length", sa.BigInteger(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("byte_length > 0 AND codec IN (0, 1)", name="log_chunks_shape"),
        sa.PrimaryKeyConstraint("execution_id", "stream", "start_offset"),
    )
    op.create_index("log_chunks_all", "log_chunks", ["execution_id", "all_offset"], unique=True)
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("default_agent_working_dir", sa.Text(), nullable=True),
        sa.Column("remote_project_id", sa.Uuid(), nullable=True),
        sa.Column("default_image", sa.Text(), nullable=True),
        sa.Column("implicit_key", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "projects_implicit_key",
        "projects",
        ["created_by", "implicit_key"],
        unique=True,
        postgresql_where=sa.text("implicit_key IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_table(
        "repos",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("setup_script", sa.Text(), nullable=True),
        sa.Column("cleanup_script", sa.Text(), nullable=True),
        sa.Column("archive_script", sa.Text(), nullable=True),
        sa.Column("copy_files", sa.Text(), nullable=True),
        sa.Column("parallel_setup_script", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("dev_server_script", sa.Text(), nullable=True),
        sa.Column("default_target_branch", sa.Text(), nullable=True),
        sa.Column("default_working_dir", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("created_by", "path", name="repos_path"),
    )
    op.create_table(
        "runtime_nodes",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("reported_health", sa.Text(), server_default="online", nullable=False),
        sa.Column("liveness", sa.Text(), server_default="online", nullable=False),
        sa.Column("last_heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("client_version", sa.Text(), nullable=True),
        sa.Column(
            "capabilities",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("node_id"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_table(
        "project_repos",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("setup_script", sa.Text(), nullable=True),
        sa.Column("cleanup_script", sa.Text(), nullable=True),
        sa.Column("copy_files", sa.Text(), nullable=True),
        sa.Column("parallel_setup_script", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), server_default="cloning", nullable=False),
        sa.Column("clone_error", sa.Text(), nullable=True),
        sa.Column("local_path", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('cloning', 'ready', 'failed')", name="project_repos_state"),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repos.id"],
        ),
        sa.PrimaryKeyConstraint("project_id", "repo_id"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="todo", nullable=False),
        sa.Column("parent_workspace_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('todo', 'inprogress', 'inreview', 'done', 'cancelled')", name="tasks_status"),
        sa.ForeignKeyConstraint(
            ["parent_workspace_id"], ["workspaces.id"], name="tasks_parent_workspace", use_alter=True
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_tasks_project_id"), "tasks", ["project_id"], unique=False)
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("container_ref", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("agent_working_dir", sa.Text(), nullable=True),
        sa.Column("setup_completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("archived", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="starting", nullable=False),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("work_dir", sa.Text(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("requested_image", sa.Text(), nullable=True),
        sa.Column("resolved_image", sa.Text(), nullable=True),
        sa.Column("image_digest", sa.Text(), nullable=True),
        sa.Column("container_id", sa.Text(), nullable=True),
        sa.Column("uid", sa.BigInteger(), nullable=True),
        sa.Column("next_gid", sa.BigInteger(), server_default=sa.text("20000"), nullable=False),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('starting', 'running', 'stopped', 'failed')", name="workspaces_state"),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["runtime_nodes.node_id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_workspaces_node_id"), "workspaces", ["node_id"], unique=False)
    op.create_index(op.f("ix_workspaces_task_id"), "workspaces", ["task_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_seq", sa.BigInteger(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("terminal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("operation_id", "sequence", name="events_operation_sequence"),
        sa.UniqueConstraint("workspace_id", "workspace_seq", name="events_workspace_seq"),
    )
    op.create_index("events_global", "events", ["xid", "id"], unique=False)
    op.create_index(
        "events_one_terminal", "events", ["operation_id"], unique=True, postgresql_where=sa.text("terminal")
    )
    op.create_table(
        "lanes",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("workspace_id"),
        sa.UniqueConstraint("workspace_id", "group_id", name="lanes_holder"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("executor", sa.Text(), nullable=True),
        sa.Column("executor_config", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_sessions_workspace_id"), "sessions", ["workspace_id"], unique=False)
    op.create_table(
        "workspace_environment",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("workspace_id", "name"),
    )
    op.create_table(
        "workspace_repos",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("target_branch", sa.Text(), nullable=True),
        sa.Column("working_dir", sa.Text(), nullable=True),
        sa.Column("setup_script", sa.Text(), nullable=True),
        sa.Column("cleanup_script", sa.Text(), nullable=True),
        sa.Column("dev_server_script", sa.Text(), nullable=True),
        sa.Column("archive_script", sa.Text(), nullable=True),
        sa.Column("parallel_setup_script", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("base_commit", sa.Text(), nullable=True),
        sa.Column("mirror_path", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repos.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("workspace_id", "repo_id"),
        sa.UniqueConstraint("workspace_id", "name", name="workspace_repos_name"),
    )
    op.create_table(
        "execution_processes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("run_reason", sa.Text(), nullable=False),
        sa.Column("executor_action", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("dropped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column(
            "lane_position", sa.BigInteger(), server_default=sa.text("nextval('lane_positions')"), nullable=False
        ),
        sa.Column(
            "lane_group_id",
            sa.Uuid(),
            sa.Computed(
                "CASE WHEN status = 'running' AND run_reason <> 'dev_server' THEN group_id END", persisted=True
            ),
            nullable=True,
        ),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handle", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("kill_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kill_requested_by", sa.Text(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("publish_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("event_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'killed')) = (completed_at IS NOT NULL)", name="execution_final"
        ),
        sa.CheckConstraint("(status IN ('failed', 'killed')) = (reason IS NOT NULL)", name="execution_has_reason"),
        sa.CheckConstraint(
            "reason IN ('exit_code', 'agent_error', 'no_port', 'clone_failed', 'clone_timeout', 'image_unavailable', 'program_missing', 'start_failed', 'workspace_gone', 'timeout', 'no_output', 'log_limit', 'disk_limit', 'oom', 'disk_pressure', 'user', 'supervisor_lost', 'container_missing', 'engine_error', 'node_lost', 'log_tampered', 'internal_error')",
            name="execution_reason",
        ),
        sa.CheckConstraint(
            "run_reason IN ('clone', 'setup_script', 'coding_agent', 'dev_server', 'cleanup_script', 'archive_script')",
            name="execution_run_reason",
        ),
        sa.CheckConstraint("status <> 'queued' OR started_at IS NULL", name="execution_queued_not_started"),
        sa.CheckConstraint(
            "status <> 'running' OR (owner IS NOT NULL AND lease_until IS NOT NULL)", name="execution_owned"
        ),
        sa.CheckConstraint("status IN ('queued', 'running', 'completed', 'failed', 'killed')", name="execution_status"),
        sa.CheckConstraint(
            "status NOT IN ('running', 'completed') OR started_at IS NOT NULL", name="execution_started"
        ),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["runtime_nodes.node_id"],
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "lane_group_id"], ["lanes.workspace_id", "lanes.group_id"], name="execution_holds_lane"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "execution_active",
        "execution_processes",
        ["status", "node_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index("execution_newest", "execution_processes", ["created_at", "id"], unique=False)
    op.create_index("execution_session", "execution_processes", ["session_id"], unique=False)
    op.create_index("execution_workspace", "execution_processes", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "coding_agent_turns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("execution_process_id", sa.Uuid(), nullable=False),
        sa.Column("agent_session_id", sa.Text(), nullable=True),
        sa.Column("agent_message_id", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("seen", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_process_id"],
            ["execution_processes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("execution_process_id"),
    )
    op.create_table(
        "execution_process_repo_states",
        sa.Column("execution_process_id", sa.Uuid(), nullable=False),
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("before_head_commit", sa.Text(), nullable=True),
        sa.Column("after_head_commit", sa.Text(), nullable=True),
        sa.Column("merge_commit", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("dirty", sa.Boolean(), nullable=True),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("pinned_commit", sa.Text(), nullable=True),
        sa.Column("committed", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("patch", sa.LargeBinary(), nullable=True),
        sa.Column("step_patch", sa.LargeBinary(), nullable=True),
        sa.Column("stat", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_process_id"],
            ["execution_processes.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repos.id"],
        ),
        sa.PrimaryKeyConstraint("execution_process_id", "repo_id"),
    )
    op.create_table(
        "log_streams",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("truncated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("stream IN ('stdout', 'stderr', 'all')", name="log_streams_stream"),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["execution_processes.id"],
        ),
        sa.PrimaryKeyConstraint("execution_id", "stream"),
    )
    op.create_foreign_key("tasks_parent_workspace", "tasks", "workspaces", ["parent_workspace_id"], ["id"])
    # chunks are compressed before they come here: let Postgres not try again
    op.execute("ALTER TABLE log_chunks ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE execution_process_repo_states ALTER COLUMN patch SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_constraint("tasks_parent_workspace", "tasks")
    op.drop_table("log_streams")
    op.drop_table("execution_process_repo_states")
    op.drop_table("coding_agent_turns")
    op.drop_index("execution_workspace", table_name="execution_processes")
    op.drop_index("execution_session", table_name="execution_processes")
    op.drop_index("execution_newest", table_name="execution_processes")
    op.drop_index(
        "execution_active",
        table_name="execution_processes",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("execution_processes")
    op.drop_table("workspace_repos")
    op.drop_table("workspace_environment")
    op.drop_index(op.f("ix_sessions_workspace_id"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("lanes")
    op.drop_index("events_one_terminal", table_name="events", postgresql_where=sa.text("terminal"))
    op.drop_index("events_global", table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_workspaces_task_id"), table_name="workspaces")
    op.drop_index(op.f("ix_workspaces_node_id"), table_name="workspaces")
    op.drop_table("workspaces")
    op.drop_index(op.f("ix_tasks_project_id"), table_name="tasks")
    op.drop_table("tasks")
    op.drop_table("project_repos")
    op.drop_table("tokens")
    op.drop_table("runtime_nodes")
    op.drop_table("repos")
    op.drop_index(
        "projects_implicit_key",
        table_name="projects",
        postgresql_where=sa.text("implicit_key IS NOT NULL AND deleted_at IS NULL"),
    )
    op.drop_table("projects")
    op.drop_index("log_chunks_all", table_name="log_chunks")
    op.drop_table("log_chunks")
    op.drop_table("idempotency_keys")
    op.execute("DROP SEQUENCE lane_positions")
