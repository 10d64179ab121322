"""Tasks can be deleted, and the subtasks of a workspace are found"""

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    subtasks = sa.text("parent_workspace_id IS NOT NULL")
    op.create_index("tasks_of_parent", "tasks", ["parent_workspace_id", "created_at", "id"], postgresql_where=subtasks)


def downgrade() -> None:
    op.drop_index("tasks_of_parent", "tasks")
    op.drop_column("tasks", "deleted_at")
