"""The group of a waiting run follows the node of its workspace, so that the sweep need not look at all waiting runs"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0032"
branch_labels = None
depends_on = None

WAITING = "r.admitted_at IS NULL AND r.status <> 'completed'"

# A run that begins to wait again gets the group of its workspace as it is now.
JOIN = """
CREATE FUNCTION join_admission_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT concat_ws(' ', w.pool, array_to_string(w.needs, ','), w.node_id) INTO NEW.admission_group
  FROM workspaces w WHERE w.id = NEW.workspace_id;
  RETURN NEW;
END
$$
"""
JOINS = """
CREATE TRIGGER runs_join_admission_group BEFORE UPDATE ON runs FOR EACH ROW
WHEN (NEW.admitted_at IS NULL AND NEW.status <> 'completed' AND (OLD.admitted_at IS NOT NULL OR OLD.status = 'completed'))
EXECUTE FUNCTION join_admission_group()
"""
# It waits for no row, because the admission may call it, which holds its lock: a run whose row is locked keeps its
# group, and is still found there among the oldest ones.
MOVE = f"""
CREATE FUNCTION move_admission_groups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  WITH free AS (
    SELECT r.id FROM runs r WHERE r.workspace_id = NEW.id AND {WAITING} FOR NO KEY UPDATE SKIP LOCKED)
  UPDATE runs r SET admission_group = concat_ws(' ', NEW.pool, array_to_string(NEW.needs, ','), NEW.node_id)
  FROM free WHERE r.id = free.id;
  RETURN NULL;
END
$$
"""  # noqa: S608 - nothing of a client's
MOVES = """
CREATE TRIGGER workspaces_move_admission_groups AFTER UPDATE OF node_id ON workspaces FOR EACH ROW
WHEN (OLD.node_id IS DISTINCT FROM NEW.node_id) EXECUTE FUNCTION move_admission_groups()
"""


def upgrade() -> None:
    for statement in (JOIN, JOINS, MOVE, MOVES):
        op.execute(sa.text(statement))
    op.execute(
        "UPDATE runs r SET admission_group = concat_ws(' ', w.pool, array_to_string(w.needs, ','), w.node_id) "  # noqa: S608
        f"FROM workspaces w WHERE w.id = r.workspace_id AND {WAITING}"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER workspaces_move_admission_groups ON workspaces")
    op.execute("DROP TRIGGER runs_join_admission_group ON runs")
    op.execute("DROP FUNCTION move_admission_groups")
    op.execute("DROP FUNCTION join_admission_group")
