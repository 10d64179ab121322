"""The first workspace of a project, which is made when its clone is ready"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("first_plan", postgresql.JSONB()))
    op.add_column("projects", sa.Column("first_state", sa.Text()))
    op.add_column("projects", sa.Column("first_error", sa.Text()))
    op.add_column("projects", sa.Column("first_workspace_id", sa.Uuid()))
    op.create_foreign_key("projects_first_workspace_id_fkey", "projects", "workspaces", ["first_workspace_id"], ["id"])
    op.create_check_constraint("projects_first_state", "projects", "first_state IN ('waiting', 'made', 'failed')")
    op.create_check_constraint(
        "projects_first_plan", "projects", "coalesce(first_state = 'waiting', false) = (first_plan IS NOT NULL)"
    )


def downgrade() -> None:
    op.drop_constraint("projects_first_plan", "projects")
    op.drop_constraint("projects_first_state", "projects")
    op.drop_constraint("projects_first_workspace_id_fkey", "projects")
    for name in ("first_workspace_id", "first_error", "first_state", "first_plan"):
        op.drop_column("projects", name)
