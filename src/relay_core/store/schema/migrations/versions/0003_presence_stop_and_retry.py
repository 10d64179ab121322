"""Presence of nodes, stopped workspaces, repeated steps"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _nodes()
    op.create_table(
        "presence_sweeps",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resumed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("single", name="presence_sweeps_single"),
        sa.PrimaryKeyConstraint("single"),
    )
    op.execute("INSERT INTO presence_sweeps DEFAULT VALUES")
    op.add_column("workspaces", sa.Column("requested_state", sa.Text(), nullable=True))
    op.create_check_constraint("workspaces_requested_state", "workspaces", "requested_state IN ('stopped', 'running')")
    _partial_index("workspaces_requested", "workspaces", "node_id", "requested_state")
    # What tells a removed workspace from a stopped one is from now on that it has no directory.
    op.execute(
        "UPDATE workspaces SET container_ref = NULL, container_id = NULL, work_dir = NULL "
        "WHERE deleted_at IS NOT NULL AND state = 'stopped'"
    )
    op.add_column("execution_processes", sa.Column("retry_of", sa.Uuid(), nullable=True))
    op.create_foreign_key(None, "execution_processes", "execution_processes", ["retry_of"], ["id"])
    op.add_column("execution_processes", sa.Column("leftover_on", sa.Text(), nullable=True))
    _partial_index("execution_retry", "execution_processes", "retry_of", "retry_of", unique=True)
    _partial_index("execution_leftover", "execution_processes", "leftover_on", "leftover_on")


def _nodes() -> None:
    op.add_column("runtime_nodes", sa.Column("epoch", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("runtime_nodes", sa.Column("reaped_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("runtime_nodes", "reported_health", server_default="ok")
    op.execute("UPDATE runtime_nodes SET reported_health = 'ok'")
    op.create_check_constraint(
        "runtime_nodes_reported_health",
        "runtime_nodes",
        "reported_health IN ('ok', 'draining', 'disk_pressure', 'engine_unavailable')",
    )
    op.create_check_constraint(
        "runtime_nodes_liveness", "runtime_nodes", "liveness IN ('online', 'degraded', 'offline')"
    )


def _partial_index(name: str, table: str, column: str, given: str, *, unique: bool = False) -> None:
    where = sa.text(f"{given} IS NOT NULL")
    op.create_index(name, table, [column], unique=unique, postgresql_where=where)


def downgrade() -> None:
    op.drop_column("execution_processes", "leftover_on")
    op.drop_column("execution_processes", "retry_of")
    op.drop_index("workspaces_requested", "workspaces")
    op.drop_column("workspaces", "requested_state")
    op.drop_table("presence_sweeps")
    op.drop_constraint("runtime_nodes_liveness", "runtime_nodes")
    op.drop_constraint("runtime_nodes_reported_health", "runtime_nodes")
    op.alter_column("runtime_nodes", "reported_health", server_default="online")
    op.drop_column("runtime_nodes", "reaped_at")
    op.drop_column("runtime_nodes", "epoch")
