"""Write leases of subtasks, and what a workspace may lease"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

REASONS = "'child_missing', 'container_missing', 'child_stopped', 'node_offline', 'reservation_expired'"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "scope_delegations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_workspace_id", sa.Uuid(), nullable=False),
        sa.Column("child_workspace_id", sa.Uuid(), nullable=False),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default="reserved", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("unverified", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("adopted_at", moment, nullable=True),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("reclaim_reason", sa.Text(), nullable=True),
        sa.Column("noticed_in", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["parent_workspace_id"], ["workspaces.id"]),
        sa.UniqueConstraint("child_workspace_id", name="scope_delegations_child"),
        sa.CheckConstraint("state IN ('reserved', 'active', 'released', 'reclaimed')", name="scope_delegations_state"),
        sa.CheckConstraint(f"reclaim_reason IN ({REASONS})", name="scope_delegations_reason"),
        sa.CheckConstraint("(state = 'reclaimed') = (reclaim_reason IS NOT NULL)", name="scope_delegations_reclaimed"),
        sa.CheckConstraint("(state IN ('reserved', 'active')) = (ended_at IS NULL)", name="scope_delegations_ended"),
    )
    op.create_index("scope_delegations_of_parent", "scope_delegations", ["parent_workspace_id", "created_at", "id"])
    op.create_index("scope_delegations_newest", "scope_delegations", ["created_at", "id"])
    op.create_table(
        "workspace_scopes",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("delegable", postgresql.JSONB(), nullable=True),
        sa.Column("denied", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("updated_at", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
    )


def downgrade() -> None:
    op.drop_table("workspace_scopes")
    op.drop_table("scope_delegations")
