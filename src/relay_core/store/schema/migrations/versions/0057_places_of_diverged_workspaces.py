"""Runs of diverged workspaces hold no place, the last step of a lane has an index, restored nodes are as they were"""

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

WAITING = """
CREATE OR REPLACE VIEW waiting_executions AS
SELECT e.id, e.created_at, r.id AS run_id, r.project_id, r.owner, r.priority, w.id AS workspace_id, w.pool, w.node_id,
  w.needs
FROM runs r JOIN execution_processes e ON e.run_id = r.id JOIN workspaces w ON w.id = e.workspace_id
LEFT JOIN lanes l ON l.workspace_id = w.id LEFT JOIN runtime_nodes n ON n.node_id = w.node_id
WHERE r.admitted_at IS NULL AND r.status <> 'completed' AND e.status = 'queued'
  AND (e.not_before IS NULL OR e.not_before <= now())
  AND w.state <> 'stopped' AND w.requested_state IS NULL AND n.liveness IS DISTINCT FROM 'offline'
  {ready}
  AND (l.group_id IS NULL OR l.group_id = e.group_id)
  AND NOT EXISTS (
    SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
      AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)
"""


def upgrade() -> None:
    op.execute(WAITING.format(ready="AND w.diverged_at IS NULL"))
    op.create_index(
        "execution_last_of_lane",
        "execution_processes",
        ["workspace_id", sa.text("lane_position DESC"), sa.text("started_at DESC")],
        postgresql_where=sa.text("started_at IS NOT NULL AND run_reason <> 'dev_server'"),
    )
    op.add_column("runtime_node_attachments", sa.Column("revoked_from", sa.Text()))


def downgrade() -> None:
    op.drop_column("runtime_node_attachments", "revoked_from")
    op.drop_index("execution_last_of_lane", "execution_processes")
    op.execute(WAITING.format(ready=""))
