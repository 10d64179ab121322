"""Positions of events among those of all workspaces, in place of ids of transactions, which a restore makes void"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("position", sa.BigInteger(), nullable=True))
    op.execute(
        """
        UPDATE events SET position = placed.place
        FROM (SELECT id, row_number() OVER (ORDER BY xid, id) AS place FROM events) placed WHERE placed.id = events.id
        """
    )
    op.create_index("events_position", "events", ["position"], unique=True)
    op.create_index("events_without_position", "events", ["id"], postgresql_where=sa.text("position IS NULL"))
    op.drop_index("events_global", "events")
    op.drop_column("events", "xid")


def downgrade() -> None:
    op.add_column(
        "events",
        sa.Column("xid", sa.BigInteger(), nullable=False, server_default=sa.text("pg_current_xact_id()::text::bigint")),
    )
    op.create_index("events_global", "events", ["xid", "id"])
    op.drop_index("events_without_position", "events")
    op.drop_index("events_position", "events")
    op.drop_column("events", "position")
