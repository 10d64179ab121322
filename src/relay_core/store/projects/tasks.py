"""Tasks: units of work of a project, each with its workspaces (attempts) and the token usage of their agents."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select, text

from relay_core.domain.errors import NotFound
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]


def task(connection: Connection, task_id: UUID, principal: Principal) -> View:
    """Return one task as the API shows it, with the ids of its workspaces that are not deleted, oldest first.

    Raises:
        NotFound: there is no such task, it or its project is deleted, or it belongs to another owner.
    """
    row = connection.execute(_tasks(principal).where(Task.id == task_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no task {task_id}")
    return _with_attempts(connection, [dict(row)])[0]


def listed(
    connection: Connection,
    principal: Principal,
    page: PageRequest,
    *,
    status: str | None = None,
    project_id: UUID | None = None,
    parent_workspace_id: UUID | None = None,
) -> Page:
    """Return a page of the tasks that are not deleted, nor their projects, newest first.

    Args:
        connection: any transaction.
        principal: gets only its own tasks, unless it is an admin.
        page: which part of the list.
        status: only tasks with this status; None: all.
        project_id: only tasks of this project; None: of all.
        parent_workspace_id: only subtasks of this workspace; None: all tasks.
    """
    wanted = _tasks(principal)
    if status is not None:
        wanted = wanted.where(Task.status == status)
    if project_id is not None:
        wanted = wanted.where(Task.project_id == project_id)
    if parent_workspace_id is not None:
        wanted = wanted.where(Task.parent_workspace_id == parent_workspace_id)
    ordered = paged(wanted, Task.created_at, Task.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_attempts(connection, found.items), found.next_cursor)


def subtasks(connection: Connection, principal: Principal, workspace_ids: Sequence[UUID], most: int) -> list[View]:
    """Return the newest subtasks of some workspaces, without attempts and usage."""
    wanted = _tasks(principal).where(Task.parent_workspace_id.in_(workspace_ids))
    newest = wanted.order_by(Task.created_at.desc(), Task.id.desc()).limit(most)
    return [dict(row) for row in connection.execute(newest).mappings()] if workspace_ids else []


def _tasks(principal: Principal) -> Select[Any]:
    columns: list[Any] = [
        Task.id,
        Task.project_id,
        Task.title,
        Task.description,
        Task.status,
        Task.parent_workspace_id,
        Task.created_by,
        Task.created_at,
        Task.updated_at,
    ]
    live = (Project.deleted_at.is_(None), Task.deleted_at.is_(None))
    statement = select(*columns).join(Project, Project.id == Task.project_id).where(*live)
    return statement if principal.only is None else statement.where(Task.created_by == principal.only)


def _with_attempts(connection: Connection, views: list[View]) -> list[View]:
    ids = [view["id"] for view in views]
    attempts = select(Workspace.task_id, Workspace.id).where(Workspace.task_id.in_(ids), Workspace.deleted_at.is_(None))
    workspaces: dict[UUID, list[UUID]] = {}
    for task_id, workspace_id in connection.execute(attempts.order_by(Workspace.created_at, Workspace.id)):
        workspaces.setdefault(task_id, []).append(workspace_id)
    usage = _usage(connection, ids)
    return [
        {**view, "workspace_ids": workspaces.get(view["id"], []), "usage": usage.get(view["id"], {})} for view in views
    ]


def _usage(connection: Connection, task_ids: list[UUID]) -> dict[UUID, dict[str, float]]:
    """Return, for each task with agent turns, totals over all of them by name of the measure (tokens, cost_usd, …)."""
    rows = connection.execute(
        text(
            """
            SELECT w.task_id, used.key, sum(used.value::float8) FROM workspaces w
            JOIN execution_processes e ON e.workspace_id = w.id
            JOIN coding_agent_turns t ON t.execution_process_id = e.id,
            jsonb_each_text(CASE jsonb_typeof(t.usage) WHEN 'object' THEN t.usage ELSE '{}' END) used
            WHERE w.task_id = ANY(:task_ids) GROUP BY w.task_id, used.key ORDER BY w.task_id, used.key
            """
        ),
        {"task_ids": task_ids},
    )
    found: dict[UUID, dict[str, float]] = {}
    for task_id, name, total in rows:
        found.setdefault(task_id, {})[name] = total
    return found
