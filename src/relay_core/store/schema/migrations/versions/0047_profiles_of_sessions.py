"""The profile that a session was made from"""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("profile", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "profile")
