"""Executions may end because a record of a delegation cannot be read"""

from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

NEW = "delegation_corrupt"
REASONS = [
    "exit_code",
    "agent_error",
    "cannot_resume",
    "no_port",
    "push_rejected",
    "push_failed",
    "reset_failed",
    "merge_conflict",
    "merge_failed",
    "rebase_failed",
    "clone_failed",
    "clone_timeout",
    "image_unavailable",
    "program_missing",
    "secret_missing",
    "job_file_invalid",
    "start_failed",
    "workspace_gone",
    "delegation_corrupt",
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


def _allow(reasons: list[str]) -> None:
    words = ", ".join(f"'{reason}'" for reason in reasons)
    op.drop_constraint("execution_reason", "execution_processes")
    # Not validated: all rows have words of the shorter list, and a look at each of them would lock the table.
    constraint = f"reason IN ({words})"
    op.create_check_constraint("execution_reason", "execution_processes", constraint, postgresql_not_valid=True)


def upgrade() -> None:
    _allow(REASONS)


def downgrade() -> None:
    op.execute("UPDATE execution_processes SET reason = 'workspace_gone' WHERE reason = 'delegation_corrupt'")
    _allow([reason for reason in REASONS if reason != NEW])
