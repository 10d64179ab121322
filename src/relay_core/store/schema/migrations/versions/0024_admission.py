"""Admission of runs: priorities, needed capabilities, limits on concurrent runs, and turns"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# Executions that wait for nothing but the admission of their run, and a worker.
WAITING = """
CREATE VIEW waiting_executions AS
SELECT e.id, e.created_at, r.id AS run_id, r.project_id, r.owner, r.priority, w.id AS workspace_id, w.pool, w.node_id,
  w.needs
FROM runs r JOIN execution_processes e ON e.run_id = r.id JOIN workspaces w ON w.id = e.workspace_id
LEFT JOIN lanes l ON l.workspace_id = w.id LEFT JOIN runtime_nodes n ON n.node_id = w.node_id
WHERE r.admitted_at IS NULL AND r.status <> 'completed' AND e.status = 'queued'
  AND (e.not_before IS NULL OR e.not_before <= now())
  AND w.state <> 'stopped' AND w.requested_state IS NULL AND n.liveness IS DISTINCT FROM 'offline'
  AND (l.group_id IS NULL OR l.group_id = e.group_id)
  AND NOT EXISTS (
    SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
      AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)
"""

# Most runs that a node may have at once; null: no limit is known.
PLACES = """
CREATE FUNCTION node_places(max_workspaces bigint, capabilities jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT least(max_workspaces, CASE WHEN jsonb_typeof(capabilities -> 'slots_per_worker') = 'number' THEN
    (capabilities ->> 'slots_per_worker')::bigint * greatest(1, CASE
      WHEN jsonb_typeof(capabilities -> 'workers') = 'array' THEN jsonb_array_length(capabilities -> 'workers')
      ELSE 1 END) END)
$$
"""

# Whether one more run fits below a limit; true: there is none.
BELOW = """
CREATE FUNCTION below_run_limit(of_kind text, of_name text, count bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce((
    SELECT count < l.max_runs FROM run_limits l WHERE l.kind = of_kind AND l.name IN (of_name, '*')
    ORDER BY l.name = '*' LIMIT 1), true)
$$
"""

# The case without contention of relay_core.domain.admission, in one statement. A row for each execution that was asked
# for says whether its message may be sent; a row without id says that the whole decision has to be made.
ADMIT = """
CREATE FUNCTION admit_at_once(ids uuid[], freed boolean)
RETURNS TABLE (execution_id uuid, admitted boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  asked uuid[];
  run record;
  contended boolean;
BEGIN
  asked := ARRAY(
    SELECT DISTINCT r.id FROM execution_processes e JOIN runs r ON r.id = e.run_id
    WHERE e.id = ANY(ids) AND e.status = 'queued' AND r.admitted_at IS NULL);
  IF cardinality(asked) > 0 OR freed THEN
    PERFORM pg_advisory_xact_lock(7310021);
    contended := cardinality(asked) > 1 OR EXISTS (
      SELECT 1 FROM waiting_executions w WHERE w.run_id <> ALL(asked));
    IF cardinality(asked) = 1 AND NOT contended THEN
      SELECT w.run_id, w.project_id, w.owner, w.pool, w.node_id, w.needs INTO run
      FROM waiting_executions w WHERE w.run_id = asked[1] LIMIT 1;
      IF FOUND THEN
        contended := run.needs <> '{}' OR NOT has_place(run.pool, run.node_id)
          OR NOT below_run_limit('project', run.project_id::text, (
            SELECT count(*) FROM runs r
            WHERE r.project_id = run.project_id AND r.admitted_at IS NOT NULL AND r.status <> 'completed'))
          OR NOT below_run_limit('owner', run.owner, (
            SELECT count(*) FROM runs r
            WHERE r.owner = run.owner AND r.admitted_at IS NOT NULL AND r.status <> 'completed'))
          OR NOT below_run_limit('pool', run.pool, (
            SELECT count(*) FROM runs r JOIN workspaces w ON w.id = r.workspace_id
            WHERE w.pool = run.pool AND r.admitted_at IS NOT NULL AND r.status <> 'completed'));
        IF NOT contended THEN
          UPDATE runs SET admitted_at = clock_timestamp() WHERE id = run.run_id;
          INSERT INTO admission_turns AS t (project_id, owner, served_at)
          VALUES (run.project_id, run.owner, clock_timestamp())
          ON CONFLICT (project_id, owner) DO UPDATE SET served_at = EXCLUDED.served_at;
        END IF;
      END IF;
    END IF;
  END IF;
  RETURN QUERY SELECT e.id, r.id IS NULL OR r.admitted_at IS NOT NULL
    FROM execution_processes e LEFT JOIN runs r ON r.id = e.run_id WHERE e.id = ANY(ids);
  IF contended THEN
    RETURN QUERY SELECT NULL::uuid, false;
  END IF;
END
$$
"""

# Whether a pool, or the node of a workspace that is placed, can start one more run soon.
PLACE = """
CREATE FUNCTION has_place(of_pool text, of_node text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  taken bigint;
  places bigint;
BEGIN
  IF of_node IS NOT NULL THEN
    SELECT count(*) INTO taken FROM runs r JOIN workspaces w ON w.id = r.workspace_id
    WHERE w.node_id = of_node AND r.admitted_at IS NOT NULL AND r.status <> 'completed';
    RETURN EXISTS (
      SELECT 1 FROM runtime_nodes n WHERE n.node_id = of_node AND n.liveness <> 'offline'
        AND taken < coalesce(node_places(n.max_workspaces, n.capabilities), taken + 1));
  END IF;
  IF NOT EXISTS (SELECT 1 FROM runtime_nodes n WHERE n.pool = of_pool) THEN
    RETURN (SELECT count(*) FROM runs r JOIN workspaces w ON w.id = r.workspace_id
      WHERE w.pool = of_pool AND w.node_id IS NULL AND r.admitted_at IS NOT NULL AND r.status <> 'completed') < 50;
  END IF;
  RETURN (
    WITH at_work AS (
      SELECT w.node_id, count(*) AS runs FROM runs r JOIN workspaces w ON w.id = r.workspace_id
      WHERE w.pool = of_pool AND r.admitted_at IS NOT NULL AND r.status <> 'completed' GROUP BY w.node_id)
    SELECT coalesce(sum(greatest(0, coalesce(
        node_places(n.max_workspaces, n.capabilities) - coalesce(a.runs, 0), 1000000))), 0)
      > coalesce((SELECT a.runs FROM at_work a WHERE a.node_id IS NULL), 0)
    FROM runtime_nodes n LEFT JOIN at_work a ON a.node_id = n.node_id
    WHERE n.pool = of_pool AND n.liveness <> 'offline' AND NOT n.draining
      AND n.reported_health NOT IN ('disk_pressure', 'engine_unavailable'));
END
$$
"""


def upgrade() -> None:
    op.add_column("runs", sa.Column("priority", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("runs", sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("runs_priority", "runs", "priority BETWEEN 0 AND 2")
    op.add_column("workspaces", sa.Column("needs", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    declares: sa.Column[list[str]] = sa.Column(
        "declares", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
    )
    op.add_column("runtime_nodes", declares)
    # Their messages are sent already.
    op.execute("UPDATE runs SET admitted_at = created_at WHERE status <> 'completed'")
    op.create_index(
        "runs_waiting",
        "runs",
        ["created_at"],
        postgresql_where=sa.text("admitted_at IS NULL AND status <> 'completed'"),
    )
    op.create_index(
        "runs_admitted",
        "runs",
        ["project_id", "owner", "workspace_id"],
        postgresql_where=sa.text("admitted_at IS NOT NULL AND status <> 'completed'"),
    )
    op.create_table(
        "run_limits",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("max_runs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
        sa.CheckConstraint("kind IN ('project', 'owner', 'pool')", name="run_limits_kind"),
        sa.CheckConstraint("max_runs >= 0", name="run_limits_max_runs"),
    )
    op.create_table(
        "admission_turns",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "owner"),
        postgresql_with={"fillfactor": 50},
    )
    for statement in (WAITING, PLACES, BELOW, PLACE, ADMIT):
        op.execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION admit_at_once")
    op.execute("DROP FUNCTION has_place")
    op.execute("DROP FUNCTION below_run_limit")
    op.execute("DROP FUNCTION node_places")
    op.execute("DROP VIEW waiting_executions")
    op.drop_table("admission_turns")
    op.drop_table("run_limits")
    op.drop_index("runs_admitted", "runs")
    op.drop_index("runs_waiting", "runs")
    op.drop_column("runtime_nodes", "declares")
    op.drop_column("workspaces", "needs")
    op.drop_constraint("runs_priority", "runs", type_="check")
    op.drop_column("runs", "admitted_at")
    op.drop_column("runs", "priority")
