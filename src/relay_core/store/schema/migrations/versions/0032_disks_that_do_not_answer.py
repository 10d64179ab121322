"""Nodes whose disk does not answer: they live, and take no new workspaces"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

NAME = "runtime_nodes_reported_health"
BEFORE = "'ok', 'draining', 'disk_pressure', 'engine_unavailable'"
AFTER = "'ok', 'draining', 'disk_pressure', 'disk_unavailable', 'engine_unavailable'"
CLOSED = "('disk_pressure', 'engine_unavailable')"
CLOSED_TOO = "('disk_pressure', 'disk_unavailable', 'engine_unavailable')"


def upgrade() -> None:
    _allow(AFTER)
    _edit("has_place", CLOSED, CLOSED_TOO)


def downgrade() -> None:
    _edit("has_place", CLOSED_TOO, CLOSED)
    op.execute("UPDATE runtime_nodes SET reported_health = 'disk_pressure' WHERE reported_health = 'disk_unavailable'")
    _allow(BEFORE)


def _allow(values: str) -> None:
    op.drop_constraint(NAME, "runtime_nodes", type_="check")
    op.create_check_constraint(NAME, "runtime_nodes", f"reported_health IN ({values})")


def _edit(function: str, before: str, after: str) -> None:
    """Replace a part of the function as it is in the database; the rest of it stays as it is."""
    connection = op.get_bind()
    named = {"name": function}
    found = sa.text("SELECT pg_get_functiondef(CAST(CAST(:name AS text) AS regproc))")
    source = str(connection.scalar(found, named))
    if source.count(before) != 1:
        raise RuntimeError(f"the function {function} is not the one that this migration changes")
    connection.exec_driver_sql(source.replace(before, after))
