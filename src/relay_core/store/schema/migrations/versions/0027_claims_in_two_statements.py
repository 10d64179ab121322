"""Functions that lock and write a claim, and append an event, each in one request with a plan that Postgres keeps"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# Adds an event of a workspace. The operation's row is locked before the workspace's, as everywhere.
APPEND = """
CREATE FUNCTION append_event(
  of_workspace uuid, of_operation uuid, of_kind text, is_terminal boolean, of_payload jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  number bigint;
  place bigint;
BEGIN
  IF of_operation IS NOT NULL THEN
    UPDATE execution_processes SET event_sequence = event_sequence + 1 WHERE id = of_operation
    RETURNING event_sequence INTO number;
  END IF;
  UPDATE workspaces SET event_seq = event_seq + 1 WHERE id = of_workspace RETURNING event_seq INTO place;
  INSERT INTO events (workspace_id, workspace_seq, operation_id, sequence, kind, terminal, payload)
  VALUES (of_workspace, place, of_operation, number, of_kind, is_terminal, of_payload);
  RETURN place;
END
$$
"""

# Changes the status of a workspace's task, with an event; a cancelled task stays cancelled.
MOVE_TASK = """
CREATE FUNCTION move_task(of_workspace uuid, to_status text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moved uuid;
BEGIN
  UPDATE tasks t SET status = to_status, updated_at = now()
  WHERE t.id = (SELECT w.task_id FROM workspaces w WHERE w.id = of_workspace)
    AND t.status NOT IN (to_status, 'cancelled')
  RETURNING t.id INTO moved;
  IF FOUND THEN
    PERFORM append_event(of_workspace, NULL, 'task.status_changed', false,
      jsonb_build_object('task_id', moved, 'status', to_status));
  END IF;
END
$$
"""

# The capacity that a node has promised to other workspaces than one.
LOAD = """
CREATE FUNCTION node_load(of_node text, without uuid)
RETURNS TABLE (workspaces bigint, memory_bytes numeric, pids numeric) LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY
  SELECT count(*), coalesce(sum((w.limits ->> 'memory_bytes')::bigint), 0),
    coalesce(sum((w.limits ->> 'pids')::bigint), 0)
  FROM (
    SELECT e.workspace_id FROM execution_processes e WHERE e.status IN ('queued', 'running') AND e.node_id = of_node
    UNION
    SELECT e.workspace_id FROM execution_processes e WHERE e.leftover_on = of_node
  ) AS held JOIN workspaces w ON w.id = held.workspace_id
  WHERE w.id <> without;
END
$$
"""

# Locks lane, execution and workspace, in this order, and tells what decides about the claim. Each query of the function
# sees what was committed before it, so nothing that it tells is older than the locks. No row: the execution is unknown;
# a row without an execution: it is not queued.
LOCK = """
CREATE FUNCTION lock_for_claim(of_execution uuid, of_attempt bigint, by_owner text, by_node text)
RETURNS TABLE (
  in_workspace uuid, execution execution_processes, workspace workspaces, holder uuid, first_position bigint,
  leftover uuid, admitted boolean, taken_at timestamptz, promised boolean, declares text[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  SELECT e.workspace_id INTO in_workspace FROM execution_processes e WHERE e.id = of_execution;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT i.taken_at INTO taken_at FROM incarnations i WHERE i.owner = by_owner AND i.lease_until >= now();
  IF in_workspace IS NULL THEN
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT l.group_id INTO holder FROM lanes l WHERE l.workspace_id = in_workspace FOR UPDATE;
  SELECT e.* INTO execution FROM execution_processes e
  WHERE e.id = of_execution AND e.status = 'queued' AND e.attempt = of_attempt FOR UPDATE;
  IF NOT FOUND THEN
    execution := NULL;
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT w.* INTO workspace FROM workspaces w WHERE w.id = in_workspace FOR UPDATE;
  SELECT min(e.lane_position) FILTER (WHERE e.status = 'queued' AND e.run_reason <> 'dev_server'),
    coalesce(bool_or(e.node_id = by_node), false)
  INTO first_position, promised FROM execution_processes e
  WHERE e.workspace_id = in_workspace AND e.status IN ('queued', 'running');
  SELECT e.id INTO leftover FROM execution_processes e
  WHERE e.workspace_id = in_workspace AND e.leftover_on = by_node LIMIT 1;
  SELECT r.admitted_at IS NOT NULL INTO admitted FROM runs r WHERE r.id = (execution).run_id;
  admitted := coalesce(admitted, true);
  SELECT n.declares INTO declares FROM runtime_nodes n WHERE n.node_id = by_node;
  RETURN NEXT;
END
$$
"""

# Writes a claim. The caller has locked lane, execution and workspace. Unless the node has promised capacity to the
# workspace already, the node's row is locked first, from here to the commit: of two claims the second one sees what the
# first one took. Without room nothing is written, and the row tells the load, not the fence.
TAKE = """
CREATE FUNCTION take_claim(
  of_execution uuid, by_owner text, by_node text, of_handle jsonb, timeout_seconds double precision,
  takes_lane boolean, moves_task boolean, promised boolean, needs_memory bigint, needs_pids bigint, of_payload jsonb
) RETURNS TABLE (
  fence bigint, queued double precision, draining boolean,
  max_workspaces bigint, max_memory_bytes bigint, max_pids bigint,
  workspaces bigint, memory_bytes numeric, pids numeric
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  mine record;
BEGIN
  SELECT e.workspace_id, e.group_id, e.run_id, w.node_id INTO mine
  FROM execution_processes e JOIN workspaces w ON w.id = e.workspace_id WHERE e.id = of_execution;
  IF NOT promised THEN
    SELECT n.draining, n.max_workspaces, n.memory_bytes, n.pids
    INTO STRICT draining, max_workspaces, max_memory_bytes, max_pids
    FROM runtime_nodes n WHERE n.node_id = by_node FOR NO KEY UPDATE;
    draining := draining AND mine.node_id IS NULL;
    SELECT l.workspaces, l.memory_bytes, l.pids INTO workspaces, memory_bytes, pids
    FROM node_load(by_node, mine.workspace_id) l;
    IF draining OR (workspaces > 0 AND (
      workspaces >= max_workspaces OR memory_bytes + needs_memory > max_memory_bytes OR pids + needs_pids > max_pids))
    THEN
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  IF takes_lane THEN
    UPDATE lanes l SET group_id = mine.group_id WHERE l.workspace_id = mine.workspace_id;
  END IF;
  UPDATE execution_processes e SET status = 'running', started_at = clock_timestamp(), owner = by_owner,
    node_id = by_node, fence = e.fence + 1, handle = of_handle,
    deadline_at = now() + make_interval(secs => timeout_seconds)
  WHERE e.id = of_execution
  RETURNING e.fence, extract(epoch FROM e.started_at - e.created_at)::float8 INTO fence, queued;
  INSERT INTO log_streams AS s (execution_id, stream, fence)
  SELECT of_execution, one, fence FROM unnest(ARRAY['all', 'stderr', 'stdout']) AS one
  ON CONFLICT (execution_id, stream) DO UPDATE SET fence = EXCLUDED.fence;
  UPDATE workspaces w SET node_id = by_node, next_gid = w.next_gid + 1, updated_at = now()
  WHERE w.id = mine.workspace_id;
  IF moves_task THEN
    PERFORM move_task(mine.workspace_id, 'inprogress');
  END IF;
  UPDATE runs r SET status = 'running', conclusion = NULL, deciding_execution_id = NULL, completed_at = NULL,
    started_at = (SELECT min(e.started_at) FROM execution_processes e WHERE e.run_id = r.id)
  WHERE r.id = mine.run_id AND (r.status <> 'running' OR r.started_at IS NULL);
  PERFORM append_event(mine.workspace_id, of_execution, 'execution.started', false, of_payload);
  RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    for statement in (APPEND, MOVE_TASK, LOAD, LOCK, TAKE):
        op.execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    for name in ("take_claim", "lock_for_claim", "node_load", "move_task", "append_event"):
        op.execute(f"DROP FUNCTION {name}")
