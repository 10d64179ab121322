"""Creation, changes by hand and deletion of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select, text, update

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import TaskStatus
from relay_core.store import events
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.delete import delete_workspaces

WORKSPACES_AT_ONCE = 20
"""Most workspaces that one transaction of `delete` deletes."""
_BELOW = text(
    """
    WITH RECURSIVE above AS (
      SELECT w.task_id FROM workspaces w WHERE w.id = :parent
      UNION
      SELECT w.task_id FROM above a JOIN tasks t ON t.id = a.task_id JOIN workspaces w ON w.id = t.parent_workspace_id)
    SELECT EXISTS (SELECT 1 FROM above WHERE task_id = :task)
    """
)


@dataclass(frozen=True)
class NewTask:
    """A task to create.

    Attributes:
        parent_workspace_id: the workspace that it is a subtask of; None: it is no subtask.
    """

    title: str
    description: str | None = None
    parent_workspace_id: UUID | None = None


@dataclass(frozen=True)
class HeldTask:
    """A task that stays as it is until the transaction ends."""

    id: UUID
    project_id: UUID
    title: str
    description: str | None
    status: TaskStatus
    parent_workspace_id: UUID | None = None


def create(connection: Connection, project_id: UUID, new: NewTask, principal: Principal) -> UUID:
    """Insert a task as `todo`, and return its id.

    Args:
        connection: one transaction.
        project_id: its project, which the caller has found for the principal.
        new: the task.
        principal: owner of the task.

    Raises:
        NotFound: the project was deleted.
        InvalidInput: `parent_of_other_project`, or the parent workspace does not exist.
    """
    live = select(Project.id).where(Project.id == project_id, Project.deleted_at.is_(None))
    if connection.scalar(live.with_for_update(read=True)) is None:
        raise NotFound(f"there is no project {project_id}")
    task_id = add(connection, project_id, new, principal)
    payload = {"task_id": str(task_id), "title": new.title, "by": principal.owner}
    events.append_to_project(connection, project_id, EventKind.TASK_CREATED, payload)
    return task_id


def add(connection: Connection, project_id: UUID, new: NewTask, principal: Principal) -> UUID:
    """Insert a task into a project that the caller has locked; errors as for `create`."""
    if new.parent_workspace_id is not None:
        _check_parent(connection, project_id, new.parent_workspace_id, principal)
    task_id = uuid4()
    values = {"project_id": project_id, "created_by": principal.owner, **vars(new)}
    connection.execute(insert(Task), {"id": task_id, **values})
    return task_id


def hold(connection: Connection, task_id: UUID, principal: Principal) -> HeldTask:
    """Return a task, and keep out its deletion until the transaction ends.

    Raises:
        NotFound: there is no such task, it or its project is deleted, or it belongs to another owner.
    """
    return _locked(connection, task_id, principal, shared=True)


def hold_parents(connection: Connection, project_id: UUID) -> None:
    """Let all changes of parents in a project wait for each other, so that no two of them make a circle."""
    connection.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def is_below(connection: Connection, workspace_id: UUID, task_id: UUID) -> bool:
    """Return whether a workspace is one of a task, or of a task below it."""
    return bool(connection.scalar(_BELOW, {"parent": workspace_id, "task": task_id}))


def change(connection: Connection, task_id: UUID, patch: Mapping[str, Any], principal: Principal) -> None:
    """Change a task by a merge patch (RFC 7396), with an event; a status has been checked by `domain.task`.

    Args:
        connection: one transaction.
        task_id: the task.
        patch: new values of `title`, `description`, `status` and `parent_workspace_id`; None clears, where that can be.
        principal: who asks.

    Raises:
        NotFound: as in `hold`.
        InvalidInput: `parent_of_other_project`, `parent_below_task`, or the parent workspace does not exist.
    """
    held = _locked(connection, task_id, principal)
    kept = {"title", "status"}
    values = {key: value for key, value in patch.items() if value is not None or key not in kept}
    parent = values.get("parent_workspace_id")
    if parent is not None:
        hold_parents(connection, held.project_id)
        _check_parent(connection, held.project_id, parent, principal)
        if is_below(connection, parent, task_id):
            message = "a task cannot be a subtask of its own workspace, or of one of its subtasks"
            raise InvalidInput(message, code="parent_below_task", field="parent_workspace_id")
    before = connection.execute(select(Task.__table__).where(Task.id == task_id)).mappings().one()
    values = {key: value for key, value in values.items() if before[key] != value}
    if not values:
        return
    connection.execute(update(Task).where(Task.id == task_id).values(**values, updated_at=func.now()))
    payload = {"task_id": str(task_id), "by": principal.owner}
    if "status" in values:
        told = payload | {"status": values["status"]}
        events.append_to_project(connection, held.project_id, EventKind.TASK_STATUS_CHANGED, told)
    if changed := sorted(set(values) - {"status"}):
        told = payload | {"fields": changed}
        events.append_to_project(connection, held.project_id, EventKind.TASK_CHANGED, told)


def delete(database: Database, task_id: UUID, principal: Principal) -> int:
    """Mark a task and its workspaces as deleted, and kill their executions. Its subtasks stay.

    This takes several short transactions, as the deletion of a project does. If it is interrupted, call it again to
    continue.

    Returns:
        How many running executions were asked to end.

    Raises:
        NotFound: there is no such task, it is deleted, or it belongs to another owner.
    """
    marked = database.transact(lambda connection: _mark_deleted(connection, task_id, principal))
    killed, went_on = 0, False
    while (batch := database.transact(lambda connection: _delete_some(connection, task_id, principal))) is not None:
        went_on = True
        killed += batch
    if not (marked or went_on):
        raise NotFound(f"there is no task {task_id}")
    return killed


def _mark_deleted(connection: Connection, task_id: UUID, principal: Principal) -> bool:
    try:
        held = _locked(connection, task_id, principal)
    except NotFound:
        return False
    connection.execute(update(Task).where(Task.id == task_id).values(deleted_at=func.now(), updated_at=func.now()))
    payload = {"task_id": str(task_id), "title": held.title, "by": principal.owner}
    events.append_to_project(connection, held.project_id, EventKind.TASK_DELETED, payload)
    return True


def _delete_some(connection: Connection, task_id: UUID, principal: Principal) -> int | None:
    live = select(Workspace.id).join(Task, Task.id == Workspace.task_id)
    live = live.where(Task.id == task_id, Task.deleted_at.is_not(None), Workspace.deleted_at.is_(None))
    if principal.only is not None:
        live = live.where(Task.created_by == principal.only)
    ids = connection.scalars(live.order_by(Workspace.id).limit(WORKSPACES_AT_ONCE)).all()
    return delete_workspaces(connection, ids, principal.owner) if ids else None


def _locked(connection: Connection, task_id: UUID, principal: Principal, *, shared: bool = False) -> HeldTask:
    columns = (Task.id, Task.project_id, Task.title, Task.description, Task.status, Task.parent_workspace_id)
    found = select(*columns)
    found = found.join(Project, Project.id == Task.project_id)
    found = found.where(Task.id == task_id, Task.deleted_at.is_(None), Project.deleted_at.is_(None))
    if principal.only is not None:
        found = found.where(Task.created_by == principal.only)
    row = connection.execute(found.with_for_update(of=Task, read=shared)).one_or_none()
    if row is None:
        raise NotFound(f"there is no task {task_id}")
    status = TaskStatus(row.status)
    return HeldTask(row.id, row.project_id, row.title, row.description, status, row.parent_workspace_id)


def _check_parent(connection: Connection, project_id: UUID, workspace_id: UUID, principal: Principal) -> None:
    found = select(Task.project_id).join(Workspace, Workspace.task_id == Task.id)
    found = found.where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
    if principal.only is not None:
        found = found.where(Workspace.created_by == principal.only)
    of_project = connection.scalar(found)
    if of_project is None:
        raise InvalidInput(f"there is no workspace {workspace_id}", code="not_found", field="parent_workspace_id")
    if of_project != project_id:
        message = "the parent workspace belongs to another project; a subtask is part of its parent's project"
        raise InvalidInput(message, code="parent_of_other_project", field="parent_workspace_id")


def hold_open(connection: Connection, task_id: UUID, principal: Principal) -> HeldTask:
    """Return a task that takes a further attempt, as `hold` does.

    Raises:
        NotFound: as in `hold`.
        Conflict: `task_closed`: it is done or cancelled, and nothing but a person moves it away from there.
    """
    held = hold(connection, task_id, principal)
    if held.status in {TaskStatus.DONE, TaskStatus.CANCELLED}:
        message = f"the task is {held.status}; set it back to todo, then start an attempt"
        raise Conflict(message, code="task_closed")
    return held
