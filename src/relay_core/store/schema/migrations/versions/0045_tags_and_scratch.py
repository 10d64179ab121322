"""Tags, and the drafts, notes and preferences of people"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0045"
down_revision = "0034"
branch_labels = None
depends_on = None

TYPES = "'draft_task', 'draft_follow_up', 'draft_workspace', 'preview_settings', 'workspace_notes', 'ui_preferences'"


def _times() -> tuple[sa.Column[datetime], ...]:
    return tuple(
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    )


def upgrade() -> None:
    op.create_table(
        "tags",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tag_name", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        *_times(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("created_by", "tag_name", name="tags_name"),
    )
    op.create_index("tags_newest", "tags", ["created_at", "id"])
    op.create_index("tags_of_owner", "tags", ["created_by", "created_at", "id"])
    op.create_table(
        "scratch",
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("scratch_type", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        *_times(),
        sa.PrimaryKeyConstraint("created_by", "scratch_type", "id"),
        sa.CheckConstraint(f"scratch_type IN ({TYPES})", name="scratch_type"),
    )
    op.create_index("scratch_of_owner", "scratch", ["created_by", "created_at", "id"])


def downgrade() -> None:
    op.drop_table("scratch")
    op.drop_table("tags")
