"""What a node may promise, so that the claim decides under its row's lock"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runtime_nodes", sa.Column("max_workspaces", sa.BigInteger(), nullable=True))
    op.add_column("runtime_nodes", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("runtime_nodes", "memory_bytes")
    op.drop_column("runtime_nodes", "max_workspaces")
