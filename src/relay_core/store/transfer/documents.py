"""Documents of the entities that move: what the target gets of a project, a task, a workspace, a pull request."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.transfer import FORMAT, EntityType
from relay_core.domain.vocabulary import ACTIVE, TaskStatus
from relay_core.store.schema.tables import (
    ExecutionProcess,
    Merge,
    MigrationState,
    Project,
    ProjectRepo,
    Repo,
    Task,
    TaskImage,
    Workspace,
)
from relay_core.store.tokens import Principal
from relay_core.store.transfer.installation import installation_id
from relay_core.store.transfer.states import get

E, S = ExecutionProcess, MigrationState
View = dict[str, Any]
_REPO = (
    "display_name",
    "setup_script",
    "cleanup_script",
    "archive_script",
    "dev_server_script",
    "parallel_setup_script",
    "copy_files",
    "default_target_branch",
    "default_working_dir",
)
_OF_PROJECT = ("setup_script", "cleanup_script", "copy_files", "parallel_setup_script")
_MERGE = (
    "id",
    "workspace_id",
    "execution_id",
    "method",
    "target_branch_name",
    "message",
    "source_commit",
    "target_commit",
    "merge_commit",
    "merged_at",
    "pr_number",
    "pr_url",
    "pr_status",
    "pr_token_secret",
    "created_at",
)


def document(connection: Connection, state_id: UUID, principal: Principal) -> View:
    """Return the document of the entity of a state, with the format and the id of this Relay.

    Args:
        connection: one transaction.
        state_id: the state.
        principal: who asks.

    Raises:
        NotFound: there is no such state, or its entity was deleted.
        Conflict: `task_in_progress`, `workspace_busy`: something of it has not ended.
    """
    state = get(connection, state_id, principal)
    entity_type = EntityType(state["entity_type"])
    content = _OF_TYPE[entity_type](connection, state["local_id"])
    if content is None:
        raise NotFound(f"the {entity_type} {state['local_id']} was deleted")
    about = {"entity_type": entity_type, "source_id": state["local_id"], "content": content}
    return {"format": FORMAT, "origin_id": installation_id(connection), **about}


def workspace_of(connection: Connection, state_id: UUID, principal: Principal) -> UUID:
    """Return the workspace of a state, of which parts may be read now.

    Raises:
        NotFound: there is no such state, it is of no workspace, or the workspace was deleted.
        Conflict: `workspace_busy`.
    """
    state = get(connection, state_id, principal)
    if state["entity_type"] != EntityType.WORKSPACE or _workspace(connection, state["local_id"]) is None:
        raise NotFound(f"migration {state_id} is of no workspace, or of a deleted one")
    found: UUID = state["local_id"]
    return found


def _project(connection: Connection, project_id: UUID) -> View | None:
    columns = (Project.name, Project.default_image, Project.default_agent_working_dir, Project.implicit_key)
    live = select(*columns).where(Project.id == project_id, Project.deleted_at.is_(None))
    row = connection.execute(live).mappings().one_or_none()
    if row is None:
        return None
    of_repo = [getattr(Repo, name).label(f"repo_{name}") for name in _REPO]
    of_project = [getattr(ProjectRepo, name) for name in _OF_PROJECT]
    joined = select(Repo.path, *of_repo, *of_project).join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
    repos = connection.execute(joined.where(ProjectRepo.project_id == project_id).order_by(Repo.path)).mappings()
    return {
        **{key: value for key, value in row.items() if key != "implicit_key"},
        "default_for": row["implicit_key"],
        "repos": [_repo(dict(each)) for each in repos],
    }


def _repo(row: Mapping[str, Any]) -> View:
    defaults = {name: row[f"repo_{name}"] for name in _REPO}
    return {"url": row["path"], **{name: row[name] for name in _OF_PROJECT}, "defaults": defaults}


def _task(connection: Connection, task_id: UUID) -> View | None:
    columns = (Task.project_id, Task.title, Task.description, Task.status, Task.created_at)
    row = connection.execute(select(*columns).where(Task.id == task_id, Task.deleted_at.is_(None))).mappings()
    found = row.one_or_none()
    if found is None:
        return None
    if found["status"] == TaskStatus.INPROGRESS:
        message = "the task is in progress; wait for the end of its run or cancel it, then migrate again"
        raise Conflict(message, code="task_in_progress")
    images = select(TaskImage.image_id).where(TaskImage.task_id == task_id)
    ordered = connection.scalars(images.order_by(TaskImage.created_at, TaskImage.image_id))
    return {**found, "image_ids": list(ordered)}


def _workspace(connection: Connection, workspace_id: UUID) -> View | None:
    live = select(Workspace.task_id, Workspace.event_seq).where(
        Workspace.id == workspace_id, Workspace.deleted_at.is_(None)
    )
    row = connection.execute(live).mappings().one_or_none()
    if row is None:
        return None
    busy = select(E.id, E.status).where(E.workspace_id == workspace_id, E.status.in_(ACTIVE)).limit(1)
    step = connection.execute(busy).one_or_none()
    if step is not None:
        message = f"execution {step.id} is {step.status}; wait for its end or kill it, then migrate again"
        raise Conflict(message, code="workspace_busy")
    count = select(func.count()).where(E.workspace_id == workspace_id)
    return {"task_id": row["task_id"], "executions": connection.scalar(count), "event_seq": row["event_seq"]}


def _merge(connection: Connection, merge_id: UUID) -> View | None:
    columns = [getattr(Merge, name) for name in _MERGE]
    joined = select(*columns, Repo.path.label("repo_url")).join(Repo, Repo.id == Merge.repo_id)
    joined = joined.join(Workspace, Workspace.id == Merge.workspace_id)
    live = joined.where(Merge.id == merge_id, Workspace.deleted_at.is_(None), Merge.pr_number.is_not(None))
    row = connection.execute(live).mappings().one_or_none()
    return None if row is None else {key: value for key, value in row.items() if key != "id"}


_OF_TYPE = {
    EntityType.PROJECT: _project,
    EntityType.TASK: _task,
    EntityType.WORKSPACE: _workspace,
    EntityType.PR_MERGE: _merge,
}
