"""Clones of projects are operations of their projects"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

BEFORE = (
    "'workspace.create', 'workspace.stop', 'workspace.resume', 'workspace.delete', 'project.create', 'project.delete', "
    "'node.attach', 'node.drain', 'node.undrain', 'orphan', 'credential.change'"
)
KINDS = (
    "'workspace.create', 'workspace.stop', 'workspace.resume', 'workspace.delete', 'project.create', 'project.clone', "
    "'project.delete', 'node.attach', 'node.drain', 'node.undrain', 'orphan', 'credential.change'"
)


def upgrade() -> None:
    op.drop_constraint("operations_kind", "operations", type_="check")
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({KINDS})")


def downgrade() -> None:
    op.execute("DELETE FROM operations WHERE kind = 'project.clone'")
    op.drop_constraint("operations_kind", "operations", type_="check")
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({BEFORE})")
