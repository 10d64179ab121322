"""Runs: the chain of executions that one request started, with a status and a conclusion"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

CHAINS = """
CREATE TEMPORARY TABLE old_chains ON COMMIT DROP AS
SELECT e.workspace_id, e.lane_position, o.lane_position AS repeats, min(e.created_at) AS created_at
FROM execution_processes e
LEFT JOIN execution_processes o ON o.id = e.retry_of AND o.status <> 'completed'
WHERE e.run_reason NOT IN ('dev_server', 'archive_script')
GROUP BY e.workspace_id, e.lane_position, o.lane_position
"""
# A chain has a row without `repeats` for the executions of it that repeat none, so the other row decides.
ROOTS = """
CREATE TEMPORARY TABLE old_roots ON COMMIT DROP AS
WITH RECURSIVE chains AS (
  SELECT workspace_id, lane_position, max(repeats) AS repeats FROM old_chains GROUP BY workspace_id, lane_position
), rooted AS (
  SELECT workspace_id, lane_position, lane_position AS root FROM chains WHERE repeats IS NULL
  UNION ALL
  SELECT c.workspace_id, c.lane_position, r.root FROM chains c
  JOIN rooted r ON r.workspace_id = c.workspace_id AND r.lane_position = c.repeats
) SELECT r.*, f.run_id FROM rooted r
JOIN (SELECT workspace_id, lane_position, gen_random_uuid() AS run_id FROM chains WHERE repeats IS NULL) f
  ON f.workspace_id = r.workspace_id AND f.lane_position = r.root
"""
# The first execution of a chain says what was asked for. Titles as in relay_core.domain.run.title_of.
RUNS = """
INSERT INTO runs (id, workspace_id, session_id, project_id, owner, kind, title, created_by, created_at)
SELECT DISTINCT ON (r.run_id) r.run_id, e.workspace_id, e.session_id, t.project_id, w.created_by,
  CASE WHEN e.run_reason = 'clone' AND e.retry_of IS NULL THEN 'job'
    WHEN (e.executor_action #> '{step,follow_up}') = 'true' THEN 'follow_up' ELSE 'step' END,
  CASE WHEN e.run_reason = 'clone' AND e.retry_of IS NULL THEN coalesce(w.name, t.title)
    WHEN e.run_reason = 'clone' THEN 'Prepare the workspace'
    WHEN e.run_reason = 'coding_agent' THEN coalesce(
      left(btrim(substring(e.executor_action #>> '{step,prompt}' from '\\S[^\\n]*')), 80), 'untitled')
    ELSE concat_ws(' ', e.run_reason, e.executor_action #>> '{step,repo}') END,
  e.created_by, e.created_at
FROM old_roots r
JOIN execution_processes e
  ON e.workspace_id = r.workspace_id AND e.lane_position = r.root AND r.lane_position = r.root
    AND e.run_reason NOT IN ('dev_server', 'archive_script')
JOIN workspaces w ON w.id = e.workspace_id JOIN tasks t ON t.id = w.task_id
ORDER BY r.run_id, e.created_at, e.id
"""
MEMBERS = """
UPDATE execution_processes e SET run_id = r.run_id FROM old_roots r
WHERE r.workspace_id = e.workspace_id AND r.lane_position = e.lane_position AND e.run_reason NOT IN ('dev_server', 'archive_script')
"""
# As relay_core.domain.run.state_of decides.
STATES = """
UPDATE runs SET started_at = s.started_at,
  status = CASE WHEN NOT s.active THEN 'completed' WHEN s.started_at IS NULL THEN 'queued' ELSE 'running' END,
  completed_at = CASE WHEN NOT s.active THEN s.completed_at END,
  deciding_execution_id = CASE WHEN NOT s.active THEN s.deciding END,
  conclusion = CASE WHEN s.active THEN NULL WHEN s.deciding IS NULL THEN 'success'
    WHEN d.reason = 'user' THEN 'cancelled'
    WHEN d.reason IN ('timeout', 'clone_timeout', 'no_output') THEN 'timed_out'
    WHEN d.reason IN ('node_lost', 'container_missing') THEN 'lost' ELSE 'failure' END
FROM (
  SELECT e.run_id, bool_or(e.status IN ('queued', 'running')) AS active, min(e.started_at) AS started_at,
    max(e.completed_at) AS completed_at,
    (array_agg(e.id ORDER BY e.completed_at, e.id) FILTER (
      WHERE e.status IN ('failed', 'killed') AND (a.id IS NULL OR a.run_id <> e.run_id)))[1] AS deciding
  FROM execution_processes e LEFT JOIN execution_processes a ON a.retry_of = e.id
  WHERE e.run_id IS NOT NULL GROUP BY e.run_id
) s LEFT JOIN execution_processes d ON d.id = s.deciding WHERE runs.id = s.run_id
"""


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("conclusion", sa.Text(), nullable=True),
        sa.Column("deciding_execution_id", sa.Uuid(), nullable=True),
        sa.Column("rerun_of", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"]),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.ForeignKeyConstraint(["rerun_of"], ["runs.id"]),
        sa.ForeignKeyConstraint(["deciding_execution_id"], ["execution_processes.id"], name="runs_deciding_execution"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("execution_processes", sa.Column("run_id", sa.Uuid(), nullable=True))
    for statement in (CHAINS, ROOTS, RUNS, MEMBERS, STATES):
        op.execute(statement)
    op.create_foreign_key("execution_run_exists", "execution_processes", "runs", ["run_id"], ["id"])
    _checks()
    _indexes()


def _checks() -> None:
    words = {
        "kind": ("job", "follow_up", "step"),
        "status": ("queued", "running", "completed"),
        "conclusion": ("success", "failure", "cancelled", "timed_out", "lost"),
    }
    for column, allowed in words.items():
        op.create_check_constraint(f"runs_{column}", "runs", f"{column} IN ({', '.join(map(repr, allowed))})")
    op.create_check_constraint("runs_final", "runs", "(status = 'completed') = (conclusion IS NOT NULL)")
    op.create_check_constraint("runs_completed", "runs", "(status = 'completed') = (completed_at IS NOT NULL)")
    op.create_check_constraint(
        "runs_decided", "runs", "(deciding_execution_id IS NOT NULL) = (conclusion <> 'success')"
    )


def _indexes() -> None:
    op.create_index("runs_newest", "runs", ["created_at", "id"])
    op.create_index("runs_of_owner", "runs", ["owner", "created_at", "id"])
    op.create_index("runs_of_project", "runs", ["project_id", "created_at", "id"])
    op.create_index("runs_of_workspace", "runs", ["workspace_id", "created_at", "id"])
    op.create_index("runs_of_conclusion", "runs", ["conclusion", "created_at", "id"])
    op.create_index(
        "runs_active", "runs", ["owner", "created_at", "id"], postgresql_where=sa.text("status <> 'completed'")
    )
    op.create_index(
        "runs_labels",
        "runs",
        ["labels"],
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
        postgresql_where=sa.text("labels <> '{}'::jsonb"),
    )
    op.create_index("runs_rerun_of", "runs", ["rerun_of"], postgresql_where=sa.text("rerun_of IS NOT NULL"))
    op.create_index(
        "execution_run", "execution_processes", ["run_id", "created_at"], postgresql_where=sa.text("run_id IS NOT NULL")
    )
    op.create_index("workspace_repos_of_repo", "workspace_repos", ["repo_id"])


def downgrade() -> None:
    op.drop_index("workspace_repos_of_repo", "workspace_repos")
    op.drop_index("execution_run", "execution_processes")
    op.drop_constraint("runs_deciding_execution", "runs")
    op.drop_column("execution_processes", "run_id")
    op.drop_table("runs")
