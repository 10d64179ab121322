"""The owner in the index of conclusions, so that runs of others are passed without a look at their rows"""

from alembic import op

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("runs_of_conclusion", "runs")
    op.create_index("runs_of_conclusion", "runs", ["conclusion", "created_at", "id", "owner"])


def downgrade() -> None:
    op.drop_index("runs_of_conclusion", "runs")
    op.create_index("runs_of_conclusion", "runs", ["conclusion", "created_at", "id"])
