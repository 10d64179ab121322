"""What a run may ask for: its user, root for setup scripts, no commit of Relay's own"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("requested_uid", sa.BigInteger(), nullable=True))
    op.add_column("workspaces", sa.Column("auto_commit", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column(
        "workspace_repos", sa.Column("setup_as_root", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("workspace_repos", "setup_as_root")
    op.drop_column("workspaces", "auto_commit")
    op.drop_column("workspaces", "requested_uid")
