"""The oldest waiting runs of each group, read by an index, however many wait"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

WAITING = "admitted_at IS NULL AND status <> 'completed'"
GROUP = "concat_ws(' ', w.pool, array_to_string(w.needs, ','), w.node_id)"

# The oldest waiting runs of each group, at most `most` of each. The groups are found one after the other in the index
# runs_waiting. A plan that reads all waiting runs to sort or to hash them is kept out.
OLDEST = """
CREATE FUNCTION oldest_waiting_runs(most bigint)
RETURNS TABLE (
  run_id uuid, project_id uuid, owner text, pool text, node_id text, needs text[], priority bigint, since timestamptz
) LANGUAGE sql STABLE
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_sort = off AS $$
  WITH RECURSIVE groups AS (
    (SELECT r.admission_group, r.project_id, r.owner, r.priority FROM runs r
      WHERE r.admitted_at IS NULL AND r.status <> 'completed' ORDER BY 1, 2, 3, 4 LIMIT 1)
    UNION ALL
    SELECT following.* FROM groups g CROSS JOIN LATERAL (
      SELECT r.admission_group, r.project_id, r.owner, r.priority FROM runs r
      WHERE r.admitted_at IS NULL AND r.status <> 'completed'
        AND (r.admission_group, r.project_id, r.owner, r.priority)
          > (g.admission_group, g.project_id, g.owner, g.priority)
      ORDER BY 1, 2, 3, 4 LIMIT 1) AS following
  )
  SELECT oldest.* FROM groups g CROSS JOIN LATERAL (
    SELECT mine.* FROM runs r CROSS JOIN LATERAL (
      SELECT w.run_id, w.project_id, w.owner, w.pool, w.node_id, w.needs, w.priority, min(w.created_at) AS since
      FROM waiting_executions w WHERE w.run_id = r.id GROUP BY 1, 2, 3, 4, 5, 6, 7) AS mine
    WHERE r.admitted_at IS NULL AND r.status <> 'completed' AND r.admission_group = g.admission_group
      AND r.project_id = g.project_id AND r.owner = g.owner AND r.priority = g.priority
    ORDER BY r.created_at, r.id LIMIT most) AS oldest
$$
"""


def upgrade() -> None:
    op.add_column("runs", sa.Column("admission_group", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.execute(
        f"UPDATE runs r SET admission_group = {GROUP} FROM workspaces w "  # noqa: S608 - nothing of a client's
        "WHERE w.id = r.workspace_id AND r.status <> 'completed'"
    )
    op.drop_index("runs_waiting", "runs")
    op.create_index(
        "runs_waiting",
        "runs",
        ["admission_group", "project_id", "owner", "priority", "created_at", "id"],
        postgresql_where=sa.text(WAITING),
    )
    op.execute(sa.text(OLDEST))


def downgrade() -> None:
    op.execute("DROP FUNCTION oldest_waiting_runs")
    op.drop_index("runs_waiting", "runs")
    op.create_index("runs_waiting", "runs", ["created_at"], postgresql_where=sa.text(WAITING))
    op.drop_column("runs", "admission_group")
