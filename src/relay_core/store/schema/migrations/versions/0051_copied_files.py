"""Files that git does not have, and that a workspace gets all the same"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspace_repos", sa.Column("copy_files", sa.Text(), nullable=True))
    op.add_column(
        "workspace_repos",
        sa.Column("copied_files", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("workspace_repos", "copied_files")
    op.drop_column("workspace_repos", "copy_files")
