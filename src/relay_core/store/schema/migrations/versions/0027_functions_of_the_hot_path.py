"""Functions for claims, events and messages, each one request with a plan that Postgres keeps"""

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

# Whether one more run has a place in its pool, or on its node, and below all limits.
FITS = """
CREATE FUNCTION run_fits(of_project uuid, of_owner text, of_pool text, of_node text)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT has_place(of_pool, of_node) THEN
    RETURN false;
  ELSIF NOT EXISTS (SELECT 1 FROM run_limits) THEN
    RETURN true;
  END IF;
  RETURN below_run_limit('project', of_project::text, (
      SELECT count(*) FROM runs r
      WHERE r.project_id = of_project AND r.admitted_at IS NOT NULL AND r.status <> 'completed'))
    AND below_run_limit('owner', of_owner, (
      SELECT count(*) FROM runs r
      WHERE r.owner = of_owner AND r.admitted_at IS NOT NULL AND r.status <> 'completed'))
    AND below_run_limit('pool', of_pool, (
      SELECT count(*) FROM runs r JOIN workspaces w ON w.id = r.workspace_id
      WHERE w.pool = of_pool AND r.admitted_at IS NOT NULL AND r.status <> 'completed'));
END
$$
"""

# Admits the run of an execution where that needs no comparison with other runs, and returns the messages to send, which
# it notes as sent. A row without id says that the whole decision has to be made (relay_core.domain.admission). A run
# without a place waits, whatever the others do: where none became free, none of them can start either.
ADMIT = """
CREATE FUNCTION admit_at_once(ids uuid[], freed boolean)
RETURNS TABLE (
  id uuid, attempt bigint, run_reason text, workspace_id uuid, run_id uuid, node_id text, pool text, urls text[],
  title text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  asked uuid[];
  run record;
  others boolean := false;
  contended boolean := false;
BEGIN
  asked := ARRAY(
    SELECT DISTINCT r.id FROM execution_processes e JOIN runs r ON r.id = e.run_id
    WHERE e.id = ANY(ids) AND e.status = 'queued' AND r.admitted_at IS NULL);
  IF cardinality(asked) > 0 OR freed THEN
    PERFORM pg_advisory_xact_lock(7310021);
    others := EXISTS (SELECT 1 FROM waiting_executions w WHERE w.run_id <> ALL(asked));
    contended := cardinality(asked) > 1 OR (freed AND others);
    IF cardinality(asked) = 1 AND NOT contended THEN
      SELECT w.run_id, w.project_id, w.owner, w.pool, w.node_id, w.needs INTO run
      FROM waiting_executions w WHERE w.run_id = asked[1] LIMIT 1;
      IF FOUND AND run.needs <> '{}' THEN
        contended := true;
      ELSIF FOUND AND run_fits(run.project_id, run.owner, run.pool, run.node_id) THEN
        contended := others;
        IF NOT others THEN
          UPDATE runs r SET admitted_at = clock_timestamp() WHERE r.id = run.run_id;
          INSERT INTO admission_turns AS t (project_id, owner, served_at)
          VALUES (run.project_id, run.owner, clock_timestamp())
          ON CONFLICT (project_id, owner) DO UPDATE SET served_at = EXCLUDED.served_at;
        END IF;
      END IF;
    END IF;
  END IF;
  IF cardinality(ids) > 0 THEN
    PERFORM note_published(ids);
    RETURN QUERY
    SELECT m.id, m.attempt, m.run_reason, m.workspace_id, m.run_id, m.node_id, m.pool, m.urls, m.title
    FROM execution_processes e JOIN message_of m ON m.id = e.id LEFT JOIN runs r ON r.id = e.run_id
    WHERE e.id = ANY(ids) AND e.status = 'queued' AND (e.run_id IS NULL OR r.admitted_at IS NOT NULL)
    ORDER BY e.created_at, e.id;
  END IF;
  IF contended THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, '', NULL::uuid, NULL::uuid, '', '', '{}'::text[], '';
  END IF;
END
$$
"""

# Notes that the messages of executions whose runs are admitted are sent now. Rows that another transaction has locked
# are left out: the holder of the admission's lock waits for nothing.
NOTE = """
CREATE FUNCTION note_published(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE execution_processes e SET published_at = now(), publish_count = e.publish_count + 1
  FROM (
    SELECT f.id FROM execution_processes f
    WHERE f.id = ANY(ids) AND f.status = 'queued' AND (f.run_id IS NULL OR EXISTS (
      SELECT 1 FROM runs r WHERE r.id = f.run_id AND r.admitted_at IS NOT NULL))
    FOR NO KEY UPDATE OF f SKIP LOCKED) AS free
  WHERE e.id = free.id;
END
$$
"""

# The message of each execution, with its description for people; a title that was made of the prompt is left out.
MESSAGE = """
CREATE VIEW message_of AS
SELECT e.id, e.attempt, e.run_reason, e.workspace_id, e.run_id, w.node_id, coalesce(w.pool, e.pool) AS pool,
  coalesce(
    (SELECT array_agg(r.url ORDER BY r.position) FROM workspace_repos r WHERE r.workspace_id = e.workspace_id),
    (SELECT array_agg(r.path ORDER BY r.name, r.id) FROM repos r JOIN project_repos p ON p.repo_id = r.id
      WHERE p.project_id = e.project_id)) AS urls,
  CASE WHEN strpos(coalesce(t.description, ''), rtrim(t.title, '…')) > 0 THEN NULL
    ELSE coalesce(t.title, p.name) END AS title
FROM execution_processes e LEFT JOIN workspaces w ON w.id = e.workspace_id LEFT JOIN tasks t ON t.id = w.task_id
LEFT JOIN projects p ON p.id = e.project_id
"""

# Whether a queued execution waits for nothing but a worker, as far as can be told without comparing runs or nodes. False
# may be wrong; the reasons are then looked up.
STARTS = """
CREATE FUNCTION starts_at_once(of_execution uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  mine record;
  node record;
  load record;
BEGIN
  SELECT e.workspace_id, e.group_id, e.run_reason, e.lane_position, e.run_id, w.node_id, w.pool, w.needs, w.limits,
    r.project_id, r.owner, r.id IS NULL OR r.admitted_at IS NOT NULL AS admitted INTO mine
  FROM execution_processes e JOIN workspaces w ON w.id = e.workspace_id LEFT JOIN runs r ON r.id = e.run_id
  WHERE e.id = of_execution AND e.status = 'queued' AND w.node_id IS NOT NULL AND w.state <> 'stopped'
    AND w.requested_state IS NULL;
  IF NOT FOUND OR (mine.run_reason <> 'dev_server' AND (
    EXISTS (SELECT 1 FROM lanes l WHERE l.workspace_id = mine.workspace_id AND l.group_id <> mine.group_id)
    OR EXISTS (
      SELECT 1 FROM execution_processes e WHERE e.workspace_id = mine.workspace_id AND e.status = 'queued'
        AND e.run_reason <> 'dev_server' AND e.lane_position < mine.lane_position)))
  THEN
    RETURN false;
  END IF;
  IF NOT mine.admitted AND (mine.needs <> '{}'
    OR EXISTS (SELECT 1 FROM waiting_executions w WHERE w.run_id <> mine.run_id)
    OR NOT run_fits(mine.project_id, mine.owner, mine.pool, mine.node_id))
  THEN
    RETURN false;
  END IF;
  SELECT n.max_workspaces, n.memory_bytes, n.pids INTO node FROM runtime_nodes n
  WHERE n.node_id = mine.node_id AND n.liveness <> 'offline';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT l.* INTO load FROM node_load(mine.node_id, mine.workspace_id) l;
  RETURN load.workspaces = 0 OR coalesce(load.workspaces < node.max_workspaces, true)
    AND coalesce(load.memory_bytes + (mine.limits ->> 'memory_bytes')::bigint <= node.memory_bytes, true)
    AND coalesce(load.pids + (mine.limits ->> 'pids')::bigint <= node.pids, true);
END
$$
"""

ADMIT_BEFORE = """
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


def upgrade() -> None:
    op.execute("DROP FUNCTION admit_at_once")
    for statement in (APPEND, MOVE_TASK, LOAD, LOCK, TAKE, MESSAGE, NOTE, FITS, ADMIT, STARTS):
        op.execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    for name in ("starts_at_once", "admit_at_once", "run_fits", "note_published"):
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP VIEW message_of")
    for name in ("take_claim", "lock_for_claim", "node_load", "move_task", "append_event"):
        op.execute(f"DROP FUNCTION {name}")
    op.execute(sa.text(ADMIT_BEFORE.replace(":", "\\:")))
