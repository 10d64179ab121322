"""Partitions of the bytes of logs by the week in which their execution started, so that old ones can be dropped

The table that was there becomes the first partition; it is scanned once for that, and not copied.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None

BEFORE = "1970-01-05"
"""The week of all logs that there are: a Monday before every week that follows."""
WEEK = "(date_trunc('week', now() AT TIME ZONE 'UTC'))::date"
ENDS = "2000-01-03"
KEYS = (
    "ALTER TABLE {0} ADD PRIMARY KEY (execution_id, stream, start_offset)",
    "CREATE UNIQUE INDEX {0}_all ON {0} (execution_id, all_offset)",
)


def upgrade() -> None:
    op.create_table(
        "partition_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("ends", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("last_position", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint("(removed_at IS NULL) = (cause IS NULL)", name="partition_marks_removed"),
    )
    gone = sa.text("removed_at IS NOT NULL")
    op.create_index("partition_marks_removed_of", "partition_marks", ["parent", "starts"], postgresql_where=gone)
    for table in ("log_streams", "log_chunks"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN week date NOT NULL DEFAULT DATE '{BEFORE}'")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN week SET DEFAULT {WEEK}")
    op.execute("ALTER TABLE log_chunks RENAME TO log_chunks_before")
    shape = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
    op.execute(f"CREATE TABLE log_chunks (LIKE log_chunks_before {shape}) PARTITION BY RANGE (week)")
    op.execute(f"ALTER TABLE log_chunks ATTACH PARTITION log_chunks_before FOR VALUES FROM (MINVALUE) TO ('{ENDS}')")
    mark = "INSERT INTO partition_marks (name, parent, starts, ends) VALUES ('{}', 'log_chunks', '{}', '{}')"
    op.execute(mark.format("log_chunks_before", BEFORE, ENDS))
    today = datetime.now(UTC).date()
    for ahead in range(5):
        week = today - timedelta(days=today.weekday()) + timedelta(days=7 * ahead)
        ends = week + timedelta(days=7)
        name = f"log_chunks_{week:%Y_%m_%d}"
        op.execute(f"CREATE TABLE {name} PARTITION OF log_chunks FOR VALUES FROM ('{week}') TO ('{ends}')")
        for statement in KEYS:
            op.execute(statement.format(name))
        op.execute(mark.format(name, week, ends))
    op.execute("CREATE TABLE log_chunks_rest PARTITION OF log_chunks DEFAULT")
    for statement in KEYS:
        op.execute(statement.format("log_chunks_rest"))


def downgrade() -> None:
    op.execute("ALTER TABLE log_chunks RENAME TO log_chunks_by_weeks")
    op.execute(
        "CREATE TABLE log_chunks (LIKE log_chunks_by_weeks INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
    )
    op.execute("INSERT INTO log_chunks SELECT * FROM log_chunks_by_weeks")
    op.execute("DROP TABLE log_chunks_by_weeks")
    op.execute("ALTER TABLE log_chunks ADD CONSTRAINT log_chunks_pkey PRIMARY KEY (execution_id, stream, start_offset)")
    op.execute("CREATE UNIQUE INDEX log_chunks_all ON log_chunks (execution_id, all_offset)")
    for table in ("log_chunks", "log_streams"):
        op.drop_column(table, "week")
    op.drop_table("partition_marks")
