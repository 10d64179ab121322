"""Job files of repositories: what a run leaves to them, and where its values came from"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OLD = [
    "exit_code",
    "agent_error",
    "cannot_resume",
    "no_port",
    "clone_failed",
    "clone_timeout",
    "image_unavailable",
    "program_missing",
    "secret_missing",
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
NEW = [*OLD, "job_file_invalid"]


def _reasons(words: list[str]) -> None:
    allowed = ", ".join(f"'{word}'" for word in words)
    op.drop_constraint("execution_reason", "execution_processes")
    op.create_check_constraint("execution_reason", "execution_processes", f"reason IN ({allowed})")


def upgrade() -> None:
    _reasons(NEW)
    op.add_column("workspaces", sa.Column("job_terms", postgresql.JSONB(), nullable=True))
    op.add_column(
        "workspaces", sa.Column("sources", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("workspaces", "sources")
    op.drop_column("workspaces", "job_terms")
    op.execute("UPDATE execution_processes SET reason = 'clone_failed' WHERE reason = 'job_file_invalid'")
    _reasons(OLD)
