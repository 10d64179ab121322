"""An index of the pull requests that a sweep may ask about, closed ones that a client asks for included"""

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("merges_open", "merges")
    due = sa.text("pr_number IS NOT NULL AND (pr_checked_at IS NULL OR pr_status = 'open')")
    op.create_index("merges_due", "merges", [sa.text("pr_checked_at NULLS FIRST"), "id"], postgresql_where=due)


def downgrade() -> None:
    op.drop_index("merges_due", "merges")
    op.create_index("merges_open", "merges", ["pr_checked_at"], postgresql_where=sa.text("pr_status = 'open'"))
