"""Nodes that are revoked: they start nothing and take nothing over"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

BEFORE = (
    "'workspace.create', 'workspace.stop', 'workspace.resume', 'workspace.delete', 'project.create', 'project.clone', "
    "'project.delete', 'node.attach', 'node.drain', 'node.undrain', 'orphan', 'credential.change'"
)
KINDS = f"{BEFORE}, 'node.revoke', 'node.restore'"

# A claim locks the node's row in each case. A revocation locks it FOR UPDATE, so it waits for the claims before it, and
# each claim after it sees it.
LOCKED_IF_NOT_PROMISED = """  IF NOT promised THEN
    SELECT n.draining, n.max_workspaces, n.memory_bytes, n.pids
    INTO STRICT draining, max_workspaces, max_memory_bytes, max_pids
    FROM runtime_nodes n WHERE n.node_id = by_node FOR NO KEY UPDATE;
    draining := draining AND mine.node_id IS NULL;
"""
LOCKED = """  IF promised THEN
    SELECT n.revoked_at IS NOT NULL, 0, 0, 0 INTO STRICT draining, workspaces, memory_bytes, pids
    FROM runtime_nodes n WHERE n.node_id = by_node FOR KEY SHARE;
    IF draining THEN
      RETURN NEXT;
      RETURN;
    END IF;
  ELSE
    SELECT n.draining AND (mine.node_id IS NULL OR n.revoked_at IS NOT NULL), n.max_workspaces, n.memory_bytes, n.pids
    INTO STRICT draining, max_workspaces, max_memory_bytes, max_pids
    FROM runtime_nodes n WHERE n.node_id = by_node FOR NO KEY UPDATE;
"""
LIVING = "n.liveness <> 'offline'"
NOT_REVOKED = "n.revoked_at IS NULL AND n.liveness <> 'offline'"
OF_NODE = "WHERE n.node_id = of_node AND "
EDITS = (
    ("take_claim", LOCKED_IF_NOT_PROMISED, LOCKED),
    ("has_place", OF_NODE + LIVING, OF_NODE + NOT_REVOKED),
    ("starts_at_once", LIVING, NOT_REVOKED),
)


def upgrade() -> None:
    op.add_column("runtime_nodes", sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("runtime_nodes_revoked", "runtime_nodes", "draining OR revoked_at IS NULL")
    for name, before, after in EDITS:
        _edit(name, before, after)
    op.drop_constraint("operations_kind", "operations", type_="check")
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({KINDS})")


def downgrade() -> None:
    for name, before, after in EDITS:
        _edit(name, after, before)
    op.drop_constraint("runtime_nodes_revoked", "runtime_nodes")
    op.drop_column("runtime_nodes", "revoked_at")
    op.execute("DELETE FROM operations WHERE kind IN ('node.revoke', 'node.restore')")
    op.drop_constraint("operations_kind", "operations", type_="check")
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({BEFORE})")


def _edit(function: str, before: str, after: str) -> None:
    """Replace a part of the function as it is in the database; the rest of it stays as it is."""
    connection = op.get_bind()
    named = {"name": function}
    found = sa.text("SELECT pg_get_functiondef(CAST(CAST(:name AS text) AS regproc))")
    source = str(connection.scalar(found, named))
    if source.count(before) != 1:
        raise RuntimeError(f"the function {function} is not the one that this migration changes")
    connection.exec_driver_sql(source.replace(before, after))
