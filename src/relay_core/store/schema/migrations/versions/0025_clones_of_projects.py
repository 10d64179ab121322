"""Clones of projects without a workspace, and the state of a project"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

PLACE = (
    "CASE WHEN workspace_id IS NULL THEN run_reason = 'clone' AND project_id IS NOT NULL AND pool IS NOT NULL "
    "AND session_id IS NULL AND run_id IS NULL "
    "ELSE session_id IS NOT NULL AND project_id IS NULL AND pool IS NULL END"
)
SUBJECT = (
    "CASE WHEN workspace_id IS NULL THEN workspace_seq IS NULL AND project_id IS NOT NULL "
    "ELSE workspace_seq IS NOT NULL AND project_id IS NULL END"
)
CLONE_STATES = "state IN ('cloning', 'ready', 'failed')"


def upgrade() -> None:
    for name in ("workspace_id", "session_id"):
        op.alter_column("execution_processes", name, nullable=True)
    op.add_column("execution_processes", sa.Column("project_id", sa.Uuid(), nullable=True))
    op.add_column("execution_processes", sa.Column("pool", sa.Text(), nullable=True))
    op.create_foreign_key("execution_project_exists", "execution_processes", "projects", ["project_id"], ["id"])
    op.create_check_constraint("execution_place", "execution_processes", PLACE)
    op.create_index(
        "execution_of_project",
        "execution_processes",
        ["project_id", "created_at"],
        postgresql_where=sa.text("project_id IS NOT NULL"),
    )
    for name in ("workspace_id", "workspace_seq"):
        op.alter_column("events", name, nullable=True)
    op.add_column("events", sa.Column("project_id", sa.Uuid(), nullable=True))
    op.create_foreign_key("events_project_exists", "events", "projects", ["project_id"], ["id"])
    op.create_check_constraint("events_subject", "events", SUBJECT)
    op.create_index(
        "events_of_project", "events", ["project_id", "position"], postgresql_where=sa.text("project_id IS NOT NULL")
    )
    op.add_column("projects", sa.Column("state", sa.Text(), server_default="cloning", nullable=False))
    op.add_column("projects", sa.Column("clone_error", sa.Text(), nullable=True))
    # A project that cloned nothing of its own was usable until now, and stays so.
    op.execute("UPDATE projects SET state = 'ready'")
    op.create_check_constraint("projects_state", "projects", CLONE_STATES)
    op.create_check_constraint("projects_clone_error", "projects", "(state = 'failed') = (clone_error IS NOT NULL)")
    op.drop_constraint("project_repos_state", "project_repos", type_="check")
    for name in ("state", "clone_error", "local_path"):
        op.drop_column("project_repos", name)


def downgrade() -> None:
    op.add_column("project_repos", sa.Column("state", sa.Text(), server_default="cloning", nullable=False))
    op.add_column("project_repos", sa.Column("clone_error", sa.Text(), nullable=True))
    op.add_column("project_repos", sa.Column("local_path", sa.Text(), nullable=True))
    op.create_check_constraint("project_repos_state", "project_repos", CLONE_STATES)
    op.execute(
        """
        UPDATE project_repos p SET state = 'ready', local_path = m.path
        FROM mirrors m JOIN repos r ON r.path = m.remote
        WHERE m.project_id = p.project_id AND r.id = p.repo_id AND m.fetched_at IS NOT NULL
        """
    )
    for name in ("projects_clone_error", "projects_state"):
        op.drop_constraint(name, "projects", type_="check")
    for name in ("clone_error", "state"):
        op.drop_column("projects", name)
    # The earlier version knows no clone without a workspace, and no event without one.
    op.execute("DELETE FROM events WHERE workspace_id IS NULL")
    for table in ("log_chunks", "log_streams"):
        op.execute(
            f"DELETE FROM {table} WHERE execution_id IN "  # noqa: S608 - nothing of a client's
            "(SELECT id FROM execution_processes WHERE workspace_id IS NULL)"
        )
    op.execute("UPDATE execution_processes SET retry_of = NULL WHERE workspace_id IS NULL")
    op.execute("DELETE FROM execution_processes WHERE workspace_id IS NULL")
    op.drop_index("events_of_project", "events")
    op.drop_constraint("events_subject", "events", type_="check")
    op.drop_constraint("events_project_exists", "events", type_="foreignkey")
    op.drop_column("events", "project_id")
    for name in ("workspace_id", "workspace_seq"):
        op.alter_column("events", name, nullable=False)
    op.drop_index("execution_of_project", "execution_processes")
    op.drop_constraint("execution_place", "execution_processes", type_="check")
    op.drop_constraint("execution_project_exists", "execution_processes", type_="foreignkey")
    for name in ("project_id", "pool"):
        op.drop_column("execution_processes", name)
    for name in ("workspace_id", "session_id"):
        op.alter_column("execution_processes", name, nullable=False)
