"""Executions that push a branch to its remote, and that reset clones"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

OLD_RUN_REASONS = ["clone", "setup_script", "coding_agent", "dev_server", "cleanup_script", "archive_script"]
NEW_RUN_REASONS = ["push", "reset"]
OLD_REASONS = [
    "exit_code",
    "agent_error",
    "cannot_resume",
    "no_port",
    "clone_failed",
    "clone_timeout",
    "image_unavailable",
    "program_missing",
    "secret_missing",
    "job_file_invalid",
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
NEW_REASONS = ["push_rejected", "push_failed", "reset_failed"]


def _allow(column: str, words: list[str]) -> None:
    allowed = ", ".join(f"'{word}'" for word in words)
    name = f"execution_{column}"
    op.drop_constraint(name, "execution_processes", type_="check")
    op.create_check_constraint(name, "execution_processes", f"{column} IN ({allowed})")


def upgrade() -> None:
    _allow("run_reason", [*OLD_RUN_REASONS, *NEW_RUN_REASONS])
    _allow("reason", [*OLD_REASONS, *NEW_REASONS])


def downgrade() -> None:
    # Their rows cannot stay what they are; the stored step is that of a script which is never run.
    op.execute(
        """
        UPDATE execution_processes SET reason = 'internal_error'
        WHERE reason IN ('push_rejected', 'push_failed', 'reset_failed')
        """
    )
    op.execute(
        """
        UPDATE execution_processes SET run_reason = 'archive_script', executor_action = jsonb_build_object(
          'step', jsonb_build_object(
            'run_reason', 'archive_script', 'repo', coalesce(executor_action #>> '{step,repo}', ''), 'cwd', '',
            'as_root', false, 'script', 'true'),
          'next_action', NULL)
        WHERE run_reason IN ('push', 'reset')
        """
    )
    _allow("run_reason", OLD_RUN_REASONS)
    _allow("reason", OLD_REASONS)
