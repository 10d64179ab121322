"""Expiry of idle workspaces: hours of projects, work that is kept before a deletion, and lists of archived ones"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None

HOURS = ("idle_stop_hours", "idle_archive_hours", "idle_delete_hours")


def upgrade() -> None:
    for name in HOURS:
        op.add_column("projects", sa.Column(name, sa.Double(), nullable=True))
    op.create_check_constraint("projects_idle_hours", "projects", " AND ".join(f"{name} >= 0" for name in HOURS))
    op.add_column("workspaces", sa.Column("expiry_problem", sa.Text(), nullable=True))
    op.add_column("workspaces", sa.Column("expiry_tried_at", sa.DateTime(timezone=True), nullable=True))
    live = sa.text("deleted_at IS NULL")
    op.create_index("workspaces_of_archive", "workspaces", ["archived", "created_at", "id"], postgresql_where=live)
    quiet = sa.text("deleted_at IS NULL AND NOT pinned")
    op.create_index("workspaces_expiring", "workspaces", ["updated_at"], postgresql_where=quiet)
    op.create_table(
        "kept_states",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("repo_id", sa.Uuid(), nullable=False),
        sa.Column("head_commit", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("dirty", sa.Boolean(), nullable=True),
        sa.Column("pinned_commit", sa.Text(), nullable=False),
        sa.Column("patch", sa.LargeBinary(), nullable=False),
        sa.Column("stat", postgresql.JSONB(), nullable=True),
        sa.Column("bundle", sa.LargeBinary(), nullable=True),
        sa.Column("kept_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "repo_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["repo_id"], ["repos.id"]),
    )


def downgrade() -> None:
    op.execute("LOCK TABLE kept_states IN ACCESS EXCLUSIVE MODE")
    kept = op.get_bind().scalar(sa.text("SELECT count(DISTINCT workspace_id) FROM kept_states"))
    if kept:
        raise RuntimeError(
            f"the work of {kept} deleted workspaces is kept in the table kept_states, perhaps nowhere else, and the "
            "older schema cannot hold it: export it (relay workspace kept ID --patch, --bundle FILE), delete the rows "
            "of the table, then downgrade again"
        )
    op.drop_table("kept_states")
    op.drop_index("workspaces_expiring", "workspaces")
    op.drop_index("workspaces_of_archive", "workspaces")
    op.drop_column("workspaces", "expiry_tried_at")
    op.drop_column("workspaces", "expiry_problem")
    op.drop_constraint("projects_idle_hours", "projects")
    for name in HOURS:
        op.drop_column("projects", name)
