"""Conversations of turns, follow-ups, a project's own agent profiles"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OLD = [
    "exit_code",
    "agent_error",
    "no_port",
    "clone_failed",
    "clone_timeout",
    "image_unavailable",
    "program_missing",
    "start_failed",
    "workspace_gone",
    "timeout",
    "no_output",
    "log_limit",
    "disk_limit",
    "oom",
    "disk_pressure",
    "user",
    "supervisor_lost",
    "container_missing",
    "engine_error",
    "node_lost",
    "log_tampered",
    "internal_error",
]
NEW = [*OLD, "cannot_resume", "secret_missing"]


def _reasons(words: list[str]) -> None:
    allowed = ", ".join(f"'{word}'" for word in words)
    op.drop_constraint("execution_reason", "execution_processes")
    op.create_check_constraint("execution_reason", "execution_processes", f"reason IN ({allowed})")


def upgrade() -> None:
    _reasons(NEW)
    op.create_table(
        "conversation_entries",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["execution_processes.id"]),
        sa.PrimaryKeyConstraint("execution_id", "entry"),
    )
    op.create_index("conversation_sequence", "conversation_entries", ["execution_id", "sequence"], unique=True)
    op.create_index(
        "execution_one_follow_up",
        "execution_processes",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text(
            "status = 'queued' AND run_reason = 'coding_agent' AND (executor_action #> '{step,follow_up}') = 'true'"
        ),
    )
    op.add_column("projects", sa.Column("agent_profiles", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("projects", "agent_profiles")
    op.drop_index("execution_one_follow_up", "execution_processes")
    op.drop_table("conversation_entries")
    _reasons(OLD)
