"""The plans of first workspaces of deleted projects, which may have secrets in their environment, are forgotten"""

from alembic import op

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "UPDATE projects SET first_plan = NULL, first_state = 'failed', "
        "first_error = 'the project was deleted before it was ready; start an attempt at a task' "
        "WHERE deleted_at IS NOT NULL AND first_state = 'waiting'"
    )


def downgrade() -> None:
    """Nothing: what was forgotten does not come back, and the rows are as earlier versions write them."""
