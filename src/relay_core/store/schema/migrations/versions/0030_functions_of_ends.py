"""Functions that lock and write the end of an execution, each one request with a plan that Postgres keeps"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

# Locks the lane of an execution, or the execution itself if it has no workspace, and tells what decides about its end.
# No member of its step group, and no execution of its run, changes until the end of the transaction.
LOCK_END = """
CREATE FUNCTION lock_for_end(of_execution uuid)
RETURNS TABLE (
  workspace_id uuid, project_id uuid, group_id uuid, session_id uuid, run_id uuid, run_reason text,
  executor_action jsonb, lane_position bigint, created_by text, node_id text, holder uuid,
  members jsonb, of_run jsonb
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  SELECT e.workspace_id INTO workspace_id FROM execution_processes e WHERE e.id = of_execution;
  IF workspace_id IS NULL THEN
    PERFORM FROM execution_processes e WHERE e.id = of_execution FOR UPDATE;
  ELSE
    SELECT l.group_id INTO holder FROM lanes l WHERE l.workspace_id = lock_for_end.workspace_id FOR UPDATE;
  END IF;
  SELECT e.project_id, e.group_id, e.session_id, e.run_id, e.run_reason, e.executor_action, e.lane_position,
    e.created_by, w.node_id
  INTO project_id, group_id, session_id, run_id, run_reason, executor_action, lane_position, created_by, node_id
  FROM execution_processes e LEFT JOIN workspaces w ON w.id = e.workspace_id WHERE e.id = of_execution;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT jsonb_agg(jsonb_build_object('id', e.id, 'run_reason', e.run_reason, 'status', e.status,
    'kill_asked', e.kill_requested_at IS NOT NULL) ORDER BY e.created_at, e.id)
  INTO members FROM execution_processes e
  WHERE e.id = of_execution
    OR (e.workspace_id = lock_for_end.workspace_id AND e.group_id = lock_for_end.group_id);
  IF run_id IS NOT NULL THEN
    SELECT jsonb_agg(jsonb_build_object('id', e.id, 'status', e.status, 'reason', e.reason, 'retry_of', e.retry_of,
      'created_at', e.created_at, 'started_at', e.started_at, 'completed_at', e.completed_at)
      ORDER BY e.created_at, e.id)
    INTO of_run FROM execution_processes e WHERE e.run_id = lock_for_end.run_id;
  END IF;
  RETURN NEXT;
END
$$
"""

# Writes the end of an execution of a workspace, whose lane the caller has locked: status, closed streams, terminal
# event, lane, task and run. The row tells whether the execution was as expected, which streams were closed, which
# executions are first in the lane now, and whether the run was completed by this.
WRITE_END = """
CREATE FUNCTION write_end(
  of_execution uuid, of_fence bigint, from_status text, to_status text, of_reason text, of_exit_code bigint,
  of_message text, left_on text, streams text[], sizes bigint[], sums text[], cuts boolean[],
  of_kind text, of_payload jsonb, releases_lane boolean, setup_done boolean, moves_task boolean, chain_over boolean,
  run_status text, run_conclusion text, run_deciding uuid
) RETURNS TABLE (written boolean, closed text[], next_ids uuid[], run_completed boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  mine record;
  began timestamptz;
  ended timestamptz;
BEGIN
  UPDATE execution_processes e SET status = to_status, reason = of_reason, exit_code = of_exit_code,
    error_reason = of_message, completed_at = clock_timestamp(), leftover_on = left_on
  WHERE e.id = of_execution AND e.status = from_status AND (of_fence IS NULL OR e.fence = of_fence)
  RETURNING e.workspace_id, e.group_id, e.run_id INTO mine;
  written := FOUND;
  IF NOT written THEN
    RETURN NEXT;
    RETURN;
  END IF;
  IF cardinality(streams) > 0 THEN
    WITH done AS (
      UPDATE log_streams s SET sha256 = n.sha256, truncated = n.truncated, closed = true
      FROM unnest(streams, sizes, sums, cuts) AS n (stream, bytes, sha256, truncated)
      WHERE s.execution_id = of_execution AND s.fence = of_fence AND s.stream = n.stream AND s.bytes = n.bytes
      RETURNING s.stream)
    SELECT array_agg(done.stream) INTO closed FROM done;
  END IF;
  PERFORM append_event(mine.workspace_id, of_execution, of_kind, true, of_payload);
  IF releases_lane THEN
    UPDATE lanes l SET group_id = NULL WHERE l.workspace_id = mine.workspace_id AND l.group_id = mine.group_id;
  END IF;
  IF setup_done THEN
    UPDATE workspaces w SET setup_completed_at = now(), updated_at = now() WHERE w.id = mine.workspace_id;
  END IF;
  IF moves_task THEN
    PERFORM move_task(mine.workspace_id, 'inreview');
  END IF;
  IF chain_over THEN
    next_ids := ARRAY(
      SELECT e.id FROM execution_processes e
      WHERE e.workspace_id = mine.workspace_id AND e.status = 'queued' AND e.run_reason <> 'dev_server'
        AND e.group_id = (
          SELECT f.group_id FROM execution_processes f
          WHERE f.workspace_id = mine.workspace_id AND f.status = 'queued' AND f.run_reason <> 'dev_server'
          ORDER BY f.lane_position, f.created_at, f.id LIMIT 1)
      ORDER BY e.lane_position, e.created_at, e.id);
  END IF;
  run_completed := false;
  IF run_status IS NOT NULL AND mine.run_id IS NOT NULL THEN
    SELECT min(e.started_at), CASE WHEN run_status = 'completed' THEN max(e.completed_at) END INTO began, ended
    FROM execution_processes e WHERE e.run_id = mine.run_id;
    UPDATE runs r SET status = run_status, conclusion = run_conclusion, deciding_execution_id = run_deciding,
      started_at = began, completed_at = ended,
      admitted_at = CASE WHEN run_status <> 'completed' AND r.status = 'completed' THEN NULL ELSE r.admitted_at END
    WHERE r.id = mine.run_id AND (r.status, r.conclusion, r.deciding_execution_id, r.started_at, r.completed_at)
      IS DISTINCT FROM (run_status, run_conclusion, run_deciding, began, ended);
    run_completed := FOUND AND run_status = 'completed';
  END IF;
  RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    for statement in (LOCK_END, WRITE_END):
        op.execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    for name in ("write_end", "lock_for_end"):
        op.execute(f"DROP FUNCTION {name}")
