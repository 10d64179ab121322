"""The archived workspaces of a node that have files, by when they changed last: those that the node may delete"""

import sqlalchemy as sa
from alembic import op

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    there = sa.text("deleted_at IS NULL AND NOT pinned AND archived AND container_ref IS NOT NULL")
    op.create_index("workspaces_expiring_there", "workspaces", ["node_id", "updated_at"], postgresql_where=there)


def downgrade() -> None:
    op.drop_index("workspaces_expiring_there", "workspaces")
