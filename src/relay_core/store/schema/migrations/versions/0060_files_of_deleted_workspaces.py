"""Files of deleted workspaces that nodes keep for a while, and containers that are to be made anew"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

KINDS = ("workspace.restore", "workspace.purge", "project.restore")
KEPT = "quarantine IS NOT NULL"
CHECKS = {
    "workspaces_quarantine": "quarantine IN ('kept', 'restoring', 'purging')",
    "workspaces_purge_why": "purge_why IN ('request', 'period', 'disk')",
    "workspaces_quarantine_deleted": "quarantine IS NULL OR deleted_at IS NOT NULL",
}


def upgrade() -> None:
    for name in ("quarantine", "purge_why"):
        op.add_column("workspaces", sa.Column(name, sa.Text(), nullable=True))
    for name in ("quarantined_at", "kept_until"):
        op.add_column("workspaces", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "workspaces", sa.Column("remake_container", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    for name, condition in CHECKS.items():
        op.create_check_constraint(name, "workspaces", condition)
    op.create_index("workspaces_quarantined", "workspaces", ["created_at", "id"], postgresql_where=sa.text(KEPT))
    op.create_index("workspaces_kept", "workspaces", ["node_id", "kept_until"], postgresql_where=sa.text(KEPT))
    _kinds(add=KINDS)


def downgrade() -> None:
    """Go back to a Relay that knows no kept files: it would never remove them, and give their user ids to others."""
    op.execute("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
    kept = op.get_bind().scalar(sa.text("SELECT count(*) FROM workspaces WHERE quarantine IS NOT NULL"))
    if kept:
        message = (
            f"nodes keep the files of {kept} deleted workspaces, which the earlier version does not know; list them "
            "with `relay workspace quarantine`, restore or purge each, wait until the list is empty, and try again"
        )
        raise RuntimeError(message)
    op.execute("DELETE FROM operations WHERE kind IN ('workspace.restore', 'workspace.purge', 'project.restore')")
    _kinds(remove=KINDS)
    for name in ("workspaces_kept", "workspaces_quarantined"):
        op.drop_index(name, "workspaces")
    for name in CHECKS:
        op.drop_constraint(name, "workspaces", type_="check")
    for name in ("quarantine", "purge_why", "quarantined_at", "kept_until", "remake_container"):
        op.drop_column("workspaces", name)


def _kinds(*, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
    """Change the kinds of operations that the database allows, whichever they are."""
    found = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'operations_kind'")
    words = re.findall(r"'([a-z._]+)'", str(op.get_bind().scalar(found)))
    kept = [word for word in [*words, *add] if word not in remove]
    op.drop_constraint("operations_kind", "operations", type_="check")
    allowed = ", ".join(f"'{word}'" for word in kept)
    op.create_check_constraint("operations_kind", "operations", f"kind IN ({allowed})")
