"""Operations beside executions, and events without a workspace"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

KINDS = (
    "'workspace.create', 'workspace.stop', 'workspace.resume', 'workspace.delete', 'project.create', 'project.delete', "
    "'node.attach', 'node.drain', 'node.undrain', 'orphan', 'credential.change'"
)
SUBJECTS = "'workspace', 'project', 'node', 'container', 'token', 'secret'"
SUBJECT = (
    "(workspace_id IS NULL) = (workspace_seq IS NULL) AND (subject_kind IS NULL) = (subject_id IS NULL) "
    "AND num_nonnulls(workspace_id, project_id, subject_kind) = 1"
)
SUBJECT_BEFORE = (
    "CASE WHEN workspace_id IS NULL THEN workspace_seq IS NULL AND project_id IS NOT NULL "
    "ELSE workspace_seq IS NOT NULL AND project_id IS NULL END"
)


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("event_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.CheckConstraint(f"kind IN ({KINDS})", name="operations_kind"),
        sa.CheckConstraint(f"subject_kind IN ({SUBJECTS})", name="operations_subject_kind"),
    )
    op.create_index(
        "operations_open",
        "operations",
        ["subject_kind", "subject_id", "kind"],
        unique=True,
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    for column in ("subject_kind", "subject_id", "owner"):
        op.add_column("events", sa.Column(column, sa.Text(), nullable=True))
    op.drop_constraint("events_subject", "events", type_="check")
    op.create_check_constraint("events_subject", "events", SUBJECT)
    op.create_index(
        "events_of_subject",
        "events",
        ["subject_kind", "subject_id", "position"],
        postgresql_where=sa.text("subject_kind IS NOT NULL"),
    )
    op.create_index("events_owner", "events", ["owner", "position"], postgresql_where=sa.text("owner IS NOT NULL"))


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE subject_kind IS NOT NULL")
    op.drop_index("events_owner", "events")
    op.drop_index("events_of_subject", "events")
    op.drop_constraint("events_subject", "events", type_="check")
    for column in ("subject_kind", "subject_id", "owner"):
        op.drop_column("events", column)
    op.create_check_constraint("events_subject", "events", SUBJECT_BEFORE)
    op.drop_table("operations")
