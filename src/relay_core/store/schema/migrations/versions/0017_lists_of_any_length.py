"""Indexes for lists of tasks, workspaces, executions and runs, so that no filter reads a whole table"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Postgres' extension pg_trgm does the same, but the embedded Postgres lacks it, and elsewhere it may be forbidden.
GRAMS = """
CREATE FUNCTION relay_grams(value text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT substr(v, p, 3)), '{}')
  FROM lower(value) v, generate_series(1, length(v) - 2) p
$$
"""


def upgrade() -> None:
    op.create_index("tasks_newest", "tasks", ["created_at", "id"])
    op.create_index("tasks_of_owner", "tasks", ["created_by", "created_at", "id"])
    op.create_index("tasks_of_project", "tasks", ["project_id", "created_at", "id"])
    op.drop_index("ix_tasks_project_id", "tasks")
    op.create_index("tasks_of_status", "tasks", ["status", "created_at", "id", "created_by"])
    there = sa.text("deleted_at IS NULL")
    op.create_index("workspaces_newest", "workspaces", ["created_at", "id"], postgresql_where=there)
    op.create_index(
        "workspaces_of_state", "workspaces", ["state", "created_at", "id", "created_by"], postgresql_where=there
    )
    op.create_index(
        "execution_unsuccessful",
        "execution_processes",
        ["status", "created_at", "id", "run_reason"],
        postgresql_where=sa.text("status IN ('failed', 'killed')"),
    )
    op.create_index(
        "execution_beside_runs",
        "execution_processes",
        ["run_reason", "created_at", "id"],
        postgresql_where=sa.text("run_reason IN ('dev_server', 'archive_script')"),
    )
    op.execute(GRAMS)
    op.create_index("runs_title", "runs", [sa.text("relay_grams(title)")], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("runs_title", "runs")
    op.execute("DROP FUNCTION relay_grams(text)")
    for name in ("execution_beside_runs", "execution_unsuccessful"):
        op.drop_index(name, "execution_processes")
    for name in ("workspaces_of_state", "workspaces_newest"):
        op.drop_index(name, "workspaces")
    op.create_index("ix_tasks_project_id", "tasks", ["project_id"])
    for name in ("tasks_of_status", "tasks_of_project", "tasks_of_owner", "tasks_newest"):
        op.drop_index(name, "tasks")
