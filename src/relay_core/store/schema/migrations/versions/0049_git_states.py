"""Commits that a node found in clones and no execution recorded, and workspaces that wait because of them"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

KIND = "workspace.acknowledge"
STOPPED = "AND w.requested_state IS NULL;"
DIVERGED = "AND w.requested_state IS NULL AND (w.diverged_at IS NULL OR e.run_reason = 'dev_server');"


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("diverged_at", sa.DateTime(timezone=True), nullable=True))
    for name in ("found_state", "found_commit", "found_from", "found_problem", "accepted_commit"):
        op.add_column("workspace_repos", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("workspace_repos", sa.Column("found_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workspace_repos", sa.Column("accepted_group", sa.Uuid(), nullable=True))
    op.create_check_constraint("workspace_repos_found", "workspace_repos", "found_state IN ('diverged', 'missing')")
    _edit("starts_at_once", STOPPED, DIVERGED)
    _kinds(add=KIND)


def downgrade() -> None:
    op.execute(f"DELETE FROM operations WHERE kind = '{KIND}'")  # noqa: S608 - a constant
    _kinds(remove=KIND)
    _edit("starts_at_once", DIVERGED, STOPPED)
    op.drop_constraint("workspace_repos_found", "workspace_repos", type_="check")
    for name in ("found_state", "found_commit", "found_from", "found_problem", "found_at"):
        op.drop_column("workspace_repos", name)
    for name in ("accepted_commit", "accepted_group"):
        op.drop_column("workspace_repos", name)
    op.drop_column("workspaces", "diverged_at")


def _kinds(*, add: str = "", remove: str = "") -> None:
    """Change the kinds of operations that the database allows, whichever they are."""
    found = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'operations_kind'")
    words = re.findall(r"'([a-z._]+)'", str(op.get_bind().scalar(found)))
    kept = [word for word in [*words, add] if word and word != remove]
    op.drop_constraint("operations_kind", "operations", type_="check")
    allowed = ", ".join(f"'{word}'" for word in kept)
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({allowed})")


def _edit(function: str, before: str, after: str) -> None:
    """Replace a part of the function as it is in the database; the rest of it stays as it is."""
    connection = op.get_bind()
    named = {"name": function}
    found = sa.text("SELECT pg_get_functiondef(CAST(CAST(:name AS text) AS regproc))")
    source = str(connection.scalar(found, named))
    if source.count(before) != 1:
        raise RuntimeError(f"the function {function} is not the one that this migration changes")
    connection.exec_driver_sql(source.replace(before, after))
