"""The attempts at a task side by side: how each went, what it took, and what it changed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from relay_core.store.schema.tables import Session, Workspace
from relay_core.store.workspaces import diffs

View = dict[str, Any]
"""Fields of `relay_api.schemas.tasks.AttemptOut`, without its links."""
MOST = 100
"""Most attempts that are compared; older ones are left out."""
_COUNTS = ("files", "insertions", "deletions")
_RUNS = text(
    """
    SELECT r.workspace_id, count(*) AS runs, min(r.started_at) AS started_at,
      coalesce(sum(extract(epoch FROM coalesce(r.completed_at, now()) - r.started_at)), 0)::float8 AS seconds,
      (array_agg(r.id ORDER BY r.created_at DESC, r.id))[1] AS run_id,
      (array_agg(r.status ORDER BY r.created_at DESC, r.id))[1] AS status,
      (array_agg(r.conclusion ORDER BY r.created_at DESC, r.id))[1] AS conclusion,
      (array_agg(r.completed_at ORDER BY r.created_at DESC, r.id))[1] AS completed_at
    FROM runs r WHERE r.workspace_id = ANY(:ids) GROUP BY r.workspace_id
    """
)
_USAGE = text(
    """
    SELECT e.workspace_id, used.key, sum(used.value::float8) AS total FROM execution_processes e
    JOIN coding_agent_turns t ON t.execution_process_id = e.id,
    jsonb_each_text(CASE jsonb_typeof(t.usage) WHEN 'object' THEN t.usage ELSE '{}' END) used
    WHERE e.workspace_id = ANY(:ids) GROUP BY e.workspace_id, used.key ORDER BY e.workspace_id, used.key
    """
)
_NO_RUN: Mapping[str, Any] = {
    "runs": 0,
    "started_at": None,
    "seconds": 0.0,
    "run_id": None,
    "status": None,
    "conclusion": None,
    "completed_at": None,
}


def attempts(connection: Connection, task_id: UUID) -> list[View]:
    """Return the last `MOST` attempts at a task that are not deleted, in the order of their creation.

    Args:
        connection: any transaction.
        task_id: a task that the caller may see.
    """
    columns = ("name", "branch", "state", "archived", "created_at")
    newest = select(Workspace.id.label("workspace_id"), *(getattr(Workspace, name) for name in columns))
    newest = newest.where(Workspace.task_id == task_id, Workspace.deleted_at.is_(None))
    newest = newest.order_by(Workspace.created_at.desc(), Workspace.id.desc()).limit(MOST)
    views = [dict(row) for row in connection.execute(newest).mappings()][::-1]
    ids = [view["workspace_id"] for view in views]
    runs = {row["workspace_id"]: dict(row) for row in connection.execute(_RUNS, {"ids": ids}).mappings()}
    executors = _executors(connection, ids)
    usage: dict[UUID, dict[str, float]] = {}
    for row in connection.execute(_USAGE, {"ids": ids}):
        usage.setdefault(row.workspace_id, {})[row.key] = row.total
    for view in views:
        workspace_id = view["workspace_id"]
        view.update(runs.get(workspace_id, _NO_RUN))
        view.update(executors.get(workspace_id, {"executor": None, "model": None}))
        view["usage"] = usage.get(workspace_id, {})
        view["repos"] = _repos(connection, workspace_id)
        view["stat"] = _sum([repo["stat"] for repo in view["repos"]])
    return views


def _executors(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, View]:
    sessions = select(Session.workspace_id, Session.executor, Session.executor_config)
    oldest_first = sessions.where(Session.workspace_id.in_(ids)).order_by(Session.created_at)
    return {
        row.workspace_id: {"executor": row.executor, "model": (row.executor_config or {}).get("model")}
        for row in connection.execute(oldest_first)
    }


def _repos(connection: Connection, workspace_id: UUID) -> list[View]:
    found = []
    branches = diffs.target_branches(connection, workspace_id)
    for diff in diffs.of_workspace(connection, workspace_id, with_patch=False):
        known = diff.stat is not None and all(name in diff.stat for name in _COUNTS)
        stat = {name: diff.stat[name] for name in _COUNTS} if known and diff.stat else None
        shown = {"name": diff.name, "base_commit": diff.base_commit, "head_commit": diff.head_commit}
        found.append({**shown, "target_branch": branches.get(diff.repo_id), "stat": stat})
    return found


def _sum(stats: Sequence[Mapping[str, int] | None]) -> View | None:
    known = [stat for stat in stats if stat is not None]
    return {name: sum(stat[name] for stat in known) for name in _COUNTS} if known else None
