"""One row for each git mirror of each node"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mirrors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("credential", sa.Text(), server_default="node", nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="cloning", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["node_id"], ["runtime_nodes.node_id"]),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.UniqueConstraint("node_id", "project_id", "credential", "remote", name="mirrors_of_node"),
        sa.CheckConstraint("state IN ('cloning', 'ready', 'failed')", name="mirrors_state"),
    )
    op.create_index("mirrors_of_project", "mirrors", ["project_id", "remote"])
    op.create_index("mirrors_newest", "mirrors", ["created_at", "id"])
    op.create_index(
        "mirrors_to_purge", "mirrors", ["node_id"], postgresql_where=sa.text("purge_requested_at IS NOT NULL")
    )
    # What the clones of workspaces tell: a mirror was there when the last of them was made.
    op.execute(
        """
        INSERT INTO mirrors (id, node_id, project_id, remote, path, state, fetched_at, created_at, updated_at)
        SELECT gen_random_uuid(), w.node_id, t.project_id, r.url, max(r.mirror_path), 'ready',
          max(w.created_at), min(w.created_at), max(w.created_at)
        FROM workspace_repos r JOIN workspaces w ON w.id = r.workspace_id JOIN tasks t ON t.id = w.task_id
        WHERE r.mirror_path IS NOT NULL AND w.node_id IS NOT NULL
        GROUP BY w.node_id, t.project_id, r.url
        """
    )


def downgrade() -> None:
    op.drop_table("mirrors")
