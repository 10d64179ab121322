"""Tasks: units of work of a project, each with its workspaces (attempts) and the token usage of their agents."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from relay_core.domain.errors import NotFound
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal

View = dict[str, Any]


def task(connection: Connection, task_id: UUID, principal: Principal) -> View:
    """Return one task as the API shows it, with the ids of its workspaces that are not deleted, oldest first.

    Raises:
        NotFound: there is no such task, its project is deleted, or it belongs to another owner.
    """
    columns = (
        Task.id,
        Task.project_id,
        Task.title,
        Task.description,
        Task.status,
        Task.parent_workspace_id,
        Task.created_by,
        Task.created_at,
        Task.updated_at,
    )
    statement = select(*columns).join(Project, Project.id == Task.project_id)
    statement = statement.where(Task.id == task_id, Project.deleted_at.is_(None))
    if principal.only is not None:
        statement = statement.where(Task.created_by == principal.only)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no task {task_id}")
    attempts = select(Workspace.id).where(Workspace.task_id == task_id, Workspace.deleted_at.is_(None))
    ids = connection.scalars(attempts.order_by(Workspace.created_at, Workspace.id))
    return {**row, "workspace_ids": list(ids), "usage": _usage(connection, task_id)}


def _usage(connection: Connection, task_id: UUID) -> dict[str, float]:
    """Return totals over all agent turns of a task, by name of the measure (tokens, cost_usd, …)."""
    rows = connection.execute(
        text(
            """
            SELECT used.key, sum(used.value::float8) FROM workspaces w
            JOIN execution_processes e ON e.workspace_id = w.id
            JOIN coding_agent_turns t ON t.execution_process_id = e.id,
            jsonb_each_text(CASE jsonb_typeof(t.usage) WHEN 'object' THEN t.usage ELSE '{}' END) used
            WHERE w.task_id = :task_id GROUP BY used.key ORDER BY used.key
            """
        ),
        {"task_id": task_id},
    )
    return {row[0]: row[1] for row in rows}
