"""A git bundle beside each patch, and the ref from which a workspace's branch starts"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspace_repos", sa.Column("ref", sa.Text(), nullable=True))
    op.add_column("execution_process_repo_states", sa.Column("bundle", sa.LargeBinary(), nullable=True))
    op.add_column("execution_process_repo_states", sa.Column("bundle_problem", sa.Text(), nullable=True))
    # A bundle is compressed already: Postgres should not try to compress it again.
    op.execute("ALTER TABLE execution_process_repo_states ALTER COLUMN bundle SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_column("execution_process_repo_states", "bundle_problem")
    op.drop_column("execution_process_repo_states", "bundle")
    op.drop_column("workspace_repos", "ref")
