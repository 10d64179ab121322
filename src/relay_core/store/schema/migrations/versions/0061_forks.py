"""Workspaces that start from a recorded state of another one"""

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

OF_REPO = ("start_commit", "start_base_commit", "start_store")


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("forked_from", sa.Uuid()))
    op.create_foreign_key("workspaces_forked_from_fkey", "workspaces", "workspaces", ["forked_from"], ["id"])
    for name in OF_REPO:
        op.add_column("workspace_repos", sa.Column(name, sa.Text()))


def downgrade() -> None:
    for name in OF_REPO:
        op.drop_column("workspace_repos", name)
    op.drop_constraint("workspaces_forked_from_fkey", "workspaces")
    op.drop_column("workspaces", "forked_from")
