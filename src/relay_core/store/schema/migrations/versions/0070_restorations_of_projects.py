"""Restorations of projects that take their workspaces a few at a time"""

import sqlalchemy as sa
from alembic import op

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None

COLUMNS = ("restoring_from", "restoring_until")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("projects", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("projects_restoring", "projects", "(restoring_from IS NULL) = (restoring_until IS NULL)")


def downgrade() -> None:
    op.drop_constraint("projects_restoring", "projects", type_="check")
    for name in COLUMNS:
        op.drop_column("projects", name)
