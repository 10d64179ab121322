"""Room in each page for many versions of the rows that leases and heartbeats renew"""

from alembic import op

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

# While a snapshot is held, Postgres removes no dead row: each renewal adds a version of its row. A version that fits into
# the page of the one before needs no index entry, and every index entry of a row is one page that each later renewal
# visits. A half-full page has room for one more version of each of its rows, a page that is full to a tenth for nine.
_TABLES = ("incarnations", "runtime_nodes")


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 10)")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
