"""Whether the git state after an execution was recorded, is unavailable, or was recorded when its node returned"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLE = "execution_process_repo_states"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("after_state", sa.Text(), nullable=False, server_default="pending"))
    op.execute(
        """
        UPDATE execution_process_repo_states s SET after_state = CASE
          WHEN s.after_head_commit IS NULL AND s.branch IS NULL AND s.dirty IS NULL THEN 'unavailable'
          ELSE 'recorded' END
        FROM execution_processes e
        WHERE e.id = s.execution_process_id AND e.status IN ('completed', 'failed', 'killed')
        """
    )
    allowed = "after_state IN ('pending', 'recorded', 'unavailable', 'recorded_late')"
    op.create_check_constraint("repo_state_after_state", TABLE, allowed)


def downgrade() -> None:
    op.drop_column(TABLE, "after_state")
