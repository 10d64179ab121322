"""Repos can be changed and deleted, and a project may leave it to the repo whether setup scripts run at once"""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("now()")
    op.add_column("repos", sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now))
    op.add_column("repos", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.drop_constraint("repos_path", "repos")
    live = sa.text("deleted_at IS NULL")
    op.create_index("repos_path", "repos", ["created_by", "path"], unique=True, postgresql_where=live)
    op.create_index("repos_newest", "repos", ["created_at", "id"], postgresql_where=live)
    op.create_index("repos_of_owner", "repos", ["created_by", "created_at", "id"], postgresql_where=live)
    op.create_index("project_repos_of_repo", "project_repos", ["repo_id"])
    # False meant "not said": a run could only ever add the wish.
    op.alter_column("project_repos", "parallel_setup_script", nullable=True, server_default=None)
    op.execute("UPDATE project_repos SET parallel_setup_script = NULL WHERE NOT parallel_setup_script")


def downgrade() -> None:
    op.execute("UPDATE project_repos SET parallel_setup_script = false WHERE parallel_setup_script IS NULL")
    op.alter_column("project_repos", "parallel_setup_script", nullable=False, server_default=sa.text("false"))
    for table, index in (
        ("project_repos", "project_repos_of_repo"),
        ("repos", "repos_of_owner"),
        ("repos", "repos_newest"),
        ("repos", "repos_path"),
    ):
        op.drop_index(index, table)
    op.create_unique_constraint("repos_path", "repos", ["created_by", "path"])
    op.drop_column("repos", "deleted_at")
    op.drop_column("repos", "updated_at")
