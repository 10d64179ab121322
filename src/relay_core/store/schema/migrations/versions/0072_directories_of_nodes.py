"""Directories of nodes that no workspace claims, or of which a workspace has several"""

import re

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None

KINDS = ("directory", "workspace.adopt")
SUBJECTS = ("directory",)


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("directory_error", sa.Text(), nullable=True))
    op.create_table(
        "node_directories",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("anchor", JSONB(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("finding IN ('unregistered', 'duplicate')", name="node_directories_finding"),
        sa.ForeignKeyConstraint(["node_id"], ["runtime_nodes.node_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("node_id", "name", name="node_directories_name"),
    )
    _words("operations_kind", "kind", add=KINDS)
    _words("operations_subject_kind", "subject_kind", add=SUBJECTS)


def downgrade() -> None:
    op.execute("DELETE FROM operations WHERE kind IN ('directory', 'workspace.adopt')")
    _words("operations_subject_kind", "subject_kind", remove=SUBJECTS)
    _words("operations_kind", "kind", remove=KINDS)
    op.drop_table("node_directories")
    op.drop_column("workspaces", "directory_error")


def _words(name: str, column: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
    """Change the words that the database allows in a column of the operations, whichever they are."""
    found = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
    words = re.findall(r"'([a-z._]+)'", str(op.get_bind().scalar(found, {"name": name})))
    kept = [word for word in [*words, *add] if word not in remove]
    op.drop_constraint(name, "operations", type_="check")
    allowed = ", ".join(f"'{word}'" for word in kept)
    op.create_check_constraint(name, "operations", f"{column} IN ({allowed})")
