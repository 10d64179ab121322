"""How many processes and threads a node may promise"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runtime_nodes", sa.Column("pids", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("runtime_nodes", "pids")
