"""Executions have no earliest time: no code ever set one"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0066"
down_revision = "0065"
branch_labels = None
depends_on = None

DELAYED = re.compile(r"\s+AND \(\(?e\.not_before IS NULL\)? OR \(?e\.not_before <= now\(\)\)?\)")
NOT_STOPPED = re.compile(r"\s+AND \(?w\.state <> 'stopped'::text\)?")


def upgrade() -> None:
    before = _view()
    after = DELAYED.sub("", before)
    if "not_before" in after:
        raise RuntimeError(f"the view waiting_executions has another form than expected: {before}")
    op.execute(f"CREATE OR REPLACE VIEW waiting_executions AS {after}")
    op.drop_column("execution_processes", "not_before")


def downgrade() -> None:
    op.add_column("execution_processes", sa.Column("not_before", sa.DateTime(timezone=True)))
    delayed = "\n AND (e.not_before IS NULL OR e.not_before <= now())"
    after = NOT_STOPPED.sub(lambda found: delayed + found[0], _view(), count=1)
    op.execute(f"CREATE OR REPLACE VIEW waiting_executions AS {after}")


def _view() -> str:
    """Return the query of the view, whatever later conditions it has."""
    found = op.get_bind().scalar(sa.text("SELECT pg_get_viewdef('waiting_executions'::regclass, true)"))
    return str(found)
