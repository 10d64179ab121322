"""States of entities that move to another Relay, and what a target needs to import them"""

import sqlalchemy as sa
from alembic import op

revision = "0064"
down_revision = "0063"
branch_labels = None
depends_on = None

TYPES = "entity_type IN ('project', 'task', 'workspace', 'pr_merge')"


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("singleton", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("singleton", name="installation_singleton"),
        sa.PrimaryKeyConstraint("singleton"),
    )
    op.create_table(
        "migration_states",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=False),
        sa.Column("entity_type", sa.Text(), nullable=False),
        sa.Column("local_id", sa.Uuid(), nullable=False),
        sa.Column("remote_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("attempt_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(TYPES, name="migration_states_entity_type"),
        sa.CheckConstraint("status IN ('pending', 'migrated', 'failed', 'skipped')", name="migration_states_status"),
        sa.CheckConstraint("(status = 'migrated') = (remote_id IS NOT NULL)", name="migration_states_migrated"),
        sa.CheckConstraint(
            "(status IN ('failed', 'skipped')) = (error_message IS NOT NULL)", name="migration_states_error"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("created_by", "target_id", "entity_type", "local_id", name="migration_states_entity"),
    )
    op.create_index("migration_states_newest", "migration_states", ["created_at", "id"])
    op.create_index("migration_states_of_owner", "migration_states", ["created_by", "created_at", "id"])
    op.create_index("migration_states_of_status", "migration_states", ["status", "created_at", "id", "created_by"])
    op.create_index("migration_states_of_type", "migration_states", ["entity_type", "created_at", "id", "created_by"])
    op.create_table(
        "transfer_parts",
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("created_by", "sha256"),
    )
    # Parts are compressed already.
    op.execute("ALTER TABLE transfer_parts ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_index("transfer_parts_oldest", "transfer_parts", ["created_at"])
    op.create_table(
        "imported_entities",
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("origin_id", sa.Uuid(), nullable=False),
        sa.Column("entity_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("local_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(TYPES, name="imported_entities_entity_type"),
        sa.PrimaryKeyConstraint("created_by", "origin_id", "entity_type", "source_id"),
    )
    op.add_column("workspaces", sa.Column("imported_from", sa.Uuid(), nullable=True))
    op.add_column("workspace_repos", sa.Column("restore_commit", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workspace_repos", "restore_commit")
    op.drop_column("workspaces", "imported_from")
    for table in ("imported_entities", "transfer_parts", "migration_states", "installation"):
        op.drop_table(table)
