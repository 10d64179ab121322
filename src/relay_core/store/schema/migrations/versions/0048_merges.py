"""Merges of workspaces into their target branches, and rebases"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

RUN_REASONS = [
    "clone",
    "setup_script",
    "coding_agent",
    "dev_server",
    "cleanup_script",
    "archive_script",
    "push",
    "reset",
    "merge",
    "rebase",
]
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
NEW_RUN_REASONS = ("merge", "rebase")
NEW_REASONS = ("merge_conflict", "merge_failed", "rebase_failed")

# A task that is done or cancelled is left by a person only.
MOVE_TASK = """
CREATE OR REPLACE FUNCTION move_task(of_workspace uuid, to_status text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moved uuid;
BEGIN
  UPDATE tasks t SET status = to_status, updated_at = now()
  WHERE t.id = (SELECT w.task_id FROM workspaces w WHERE w.id = of_workspace)
    AND t.status NOT IN (to_status, {kept})
  RETURNING t.id INTO moved;
  IF FOUND THEN
    PERFORM append_event(of_workspace, NULL, 'task.status_changed', false,
      jsonb_build_object('task_id', moved, 'status', to_status));
  END IF;
END
$$
"""


def _allow(column: str, words: list[str]) -> None:
    allowed = ", ".join(f"'{word}'" for word in words)
    name = f"execution_{column}"
    op.drop_constraint(name, "execution_processes", type_="check")
    # Not validated: all rows have words of the shorter list, and a look at each of them would lock the table.
    op.create_check_constraint(name, "execution_processes", f"{column} IN ({allowed})", postgresql_not_valid=True)


def upgrade() -> None:
    now = sa.text("now()")
    time = sa.DateTime(timezone=True)
    op.create_table(
        "merges",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspaces.id"), nullable=False),
        sa.Column("repo_id", sa.Uuid(), sa.ForeignKey("repos.id"), nullable=False),
        sa.Column("execution_id", sa.Uuid(), sa.ForeignKey("execution_processes.id")),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("target_branch_name", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("source_commit", sa.Text()),
        sa.Column("target_commit", sa.Text()),
        sa.Column("prepared_commit", sa.Text()),
        sa.Column("merge_commit", sa.Text()),
        sa.Column("merged_at", time),
        sa.Column("conflicts", postgresql.ARRAY(sa.Text())),
        sa.Column("pr_number", sa.BigInteger()),
        sa.Column("pr_url", sa.Text()),
        sa.Column("pr_status", sa.Text()),
        sa.Column("pr_token_secret", sa.Text()),
        sa.Column("pr_checked_at", time),
        sa.Column("pr_problem", sa.Text()),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", time, server_default=now, nullable=False),
        sa.Column("updated_at", time, server_default=now, nullable=False),
        sa.CheckConstraint("kind IN ('direct', 'pr')", name="merges_kind"),
        sa.CheckConstraint("method IN ('squash', 'merge')", name="merges_method"),
        sa.CheckConstraint("pr_status IN ('open', 'merged', 'closed')", name="merges_pr_status"),
        sa.CheckConstraint("(pr_status IS NULL) = (pr_number IS NULL)", name="merges_pr_number"),
        sa.CheckConstraint("kind = 'pr' OR pr_number IS NULL", name="merges_pr_fields"),
        sa.CheckConstraint("kind = 'pr' OR (merged_at IS NULL) = (merge_commit IS NULL)", name="merges_merged"),
    )
    op.create_index("merges_of_workspace", "merges", ["workspace_id", "created_at", "id"])
    op.create_index("merges_newest", "merges", ["created_at", "id"])
    op.create_index("merges_open", "merges", ["pr_checked_at"], postgresql_where=sa.text("pr_status = 'open'"))
    _allow("run_reason", RUN_REASONS)
    _allow("reason", REASONS)
    op.execute(sa.text(MOVE_TASK.format(kept="'cancelled', 'done'").replace(":", "\\:")))


def downgrade() -> None:
    # Their rows cannot stay what they are; the stored step is that of a script which is never run.
    op.execute(
        """
        UPDATE execution_processes SET reason = 'internal_error'
        WHERE reason IN ('merge_conflict', 'merge_failed', 'rebase_failed')
        """
    )
    op.execute(
        """
        UPDATE execution_processes SET run_reason = 'archive_script', executor_action = jsonb_build_object(
          'step', jsonb_build_object(
            'run_reason', 'archive_script', 'repo', coalesce(executor_action #>> '{step,repo}', ''), 'cwd', '',
            'as_root', false, 'script', 'true'),
          'next_action', NULL)
        WHERE run_reason IN ('merge', 'rebase')
        """
    )
    _allow("run_reason", [word for word in RUN_REASONS if word not in NEW_RUN_REASONS])
    _allow("reason", [word for word in REASONS if word not in NEW_REASONS])
    op.execute(sa.text(MOVE_TASK.format(kept="'cancelled'").replace(":", "\\:")))
    op.drop_table("merges")
