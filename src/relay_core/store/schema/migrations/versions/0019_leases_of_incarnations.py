"""One lease for each incarnation of a worker instead of one for each execution, and turns of sweeps for all nodes"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

RUNNING = sa.text("status = 'running'")
# A function, because its statements are planned once for each connection. No row: the incarnation has none.
RENEW = """
CREATE FUNCTION renew_lease(incarnation text, seconds double precision, turn_seconds double precision)
RETURNS TABLE (taken_at timestamptz, killed uuid[], swept text[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  UPDATE incarnations i SET lease_until = now() + make_interval(secs => seconds) WHERE i.owner = incarnation
  RETURNING i.taken_at INTO taken_at;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  killed := ARRAY(
    SELECT e.id FROM execution_processes e
    WHERE e.owner = incarnation AND e.status = 'running' AND e.kill_requested_at IS NOT NULL);
  swept := ARRAY(
    SELECT t.sweep FROM sweep_turns t WHERE t.taken_at > now() - make_interval(secs => turn_seconds));
  RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "incarnations",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
        sa.ForeignKeyConstraint(["node_id"], ["runtime_nodes.node_id"]),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "sweep_turns",
        sa.Column("sweep", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sweep"),
    )
    op.execute("ALTER TABLE runtime_nodes SET (fillfactor = 50)")
    # Executions that run keep their owners and their leases: workers of this version take them over when these end.
    op.execute(
        """
        INSERT INTO incarnations (owner, node_id, lease_until, taken_at)
        SELECT owner, min(node_id), max(lease_until), now()
        FROM execution_processes WHERE status = 'running' GROUP BY owner
        """
    )
    op.drop_constraint("execution_owned", "execution_processes", type_="check")
    op.drop_column("execution_processes", "lease_until")
    op.create_check_constraint("execution_owned", "execution_processes", "status <> 'running' OR owner IS NOT NULL")
    op.create_index(
        "execution_of_owner", "execution_processes", ["owner", "kill_requested_at"], postgresql_where=RUNNING
    )
    op.execute(RENEW)


def downgrade() -> None:
    op.execute("DROP FUNCTION renew_lease")
    op.drop_index("execution_of_owner", "execution_processes")
    op.drop_constraint("execution_owned", "execution_processes", type_="check")
    op.add_column("execution_processes", sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        """
        UPDATE execution_processes e SET lease_until = coalesce(
          (SELECT i.lease_until FROM incarnations i WHERE i.owner = e.owner), now())
        WHERE e.status = 'running'
        """
    )
    op.create_check_constraint(
        "execution_owned",
        "execution_processes",
        "status <> 'running' OR (owner IS NOT NULL AND lease_until IS NOT NULL)",
    )
    op.execute("ALTER TABLE runtime_nodes RESET (fillfactor)")
    op.drop_table("sweep_turns")
    op.drop_table("incarnations")
