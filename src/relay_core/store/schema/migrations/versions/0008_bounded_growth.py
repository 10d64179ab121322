"""Indexes of what sweeps and lists look for, and how far finished logs are compact"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("idempotency_keys_created", "idempotency_keys", ["created_at"])
    op.create_index("workspaces_of_owner", "workspaces", ["created_by", "created_at", "id"])
    op.create_index(
        "workspaces_there",
        "workspaces",
        ["node_id"],
        postgresql_where=sa.text("container_ref IS NOT NULL AND (deleted_at IS NOT NULL OR state = 'running')"),
    )
    op.add_column("log_streams", sa.Column("compacted_to", sa.BigInteger(), server_default=sa.text("0")))
    op.create_index(
        "log_streams_to_compact",
        "log_streams",
        ["execution_id"],
        postgresql_where=sa.text("stream = 'all' AND closed AND compacted_to IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("log_streams_to_compact", "log_streams")
    op.drop_column("log_streams", "compacted_to")
    op.drop_index("workspaces_there", "workspaces")
    op.drop_index("workspaces_of_owner", "workspaces")
    op.drop_index("idempotency_keys_created", "idempotency_keys")
