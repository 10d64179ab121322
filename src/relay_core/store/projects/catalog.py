"""Projects and tasks. A project clones nothing by itself: its mirrors are made by the first run that needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Select, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.store.projects import repos, secrets
from relay_core.store.schema.tables import Project, ProjectRepo, Repo, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import transact
from relay_core.store.views.paging import Page, PageRequest, cut, paged
from relay_core.store.workspaces.deletion import Killed, delete_workspaces

View = dict[str, Any]
WORKSPACES_AT_ONCE = 20
"""Deleted in one transaction."""


@dataclass(frozen=True)
class ProjectRepoInput:
    """A repo of a project (URL checked, without credentials), and the scripts its runs use if they bring none."""

    url: str
    setup_script: str | None = None
    cleanup_script: str | None = None
    parallel_setup_script: bool = False


@dataclass(frozen=True)
class ProjectInput:
    """What `POST /v1/projects` asks for, validated."""

    name: str
    default_image: str | None = None
    repos: Sequence[ProjectRepoInput] = field(default_factory=list)
    default_for: str | None = None
    """URL of a repo whose runs without a project belong to this one."""


@dataclass(frozen=True)
class RepoDefaults:
    """Scripts of a project's repo."""

    setup_script: str | None
    cleanup_script: str | None
    parallel_setup_script: bool


def create(connection: Connection, project: ProjectInput, principal: Principal) -> UUID:
    """A project with its repos.

    Raises:
        InvalidInput: the same repo twice.
        Conflict: `default_project_exists`: `default_for` has one already.
    """
    project_id = uuid4()
    values = {"name": project.name, "default_image": project.default_image, "created_by": principal.owner}
    made = upsert(Project).values(id=project_id, implicit_key=project.default_for, **values)
    if not connection.scalar(made.on_conflict_do_nothing().returning(Project.id)):
        message = f"runs of {project.default_for} without a project_id have a project already; see `default_for`"
        raise Conflict(message, code="default_project_exists")
    urls = [repo.url for repo in project.repos]
    repo_ids = repos.ensure(connection, urls, principal.owner)
    for position, repo in enumerate(project.repos):
        if repo.url in urls[:position]:
            raise InvalidInput("the same repository is named twice", field=f"repos.{position}.url")
        given = {key: value for key, value in vars(repo).items() if key != "url"}
        connection.execute(insert(ProjectRepo).values(project_id=project_id, repo_id=repo_ids[repo.url], **given))
    return project_id


def get(connection: Connection, project_id: UUID, principal: Principal) -> View:
    """One project with its repos and the state of their mirrors.

    Raises:
        NotFound: it is not there for this principal, or deleted.
    """
    row = connection.execute(_projects(principal).where(Project.id == project_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no project {project_id}")
    return _with_repos(connection, [dict(row)])[0]


def listed(connection: Connection, principal: Principal, page: PageRequest, *, default_for: str | None = None) -> Page:
    """Projects that are not deleted, newest first; or the one of a repo's runs without a project."""
    wanted = _projects(principal)
    if default_for is not None:
        wanted = wanted.where(Project.implicit_key == default_for, Project.created_by == principal.owner)
    ordered = paged(wanted, Project.created_at, Project.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_repos(connection, found.items), found.next_cursor)


def delete(database: Engine, project_id: UUID, principal: Principal) -> Killed:
    """Mark a project and all its workspaces as deleted, and end what runs in them.

    In short transactions: a large project would otherwise keep the leases of all that runs in it from being renewed.
    A deletion that was interrupted goes on when it is asked for again.

    Raises:
        NotFound: it is not there for this principal, or already deleted.
    """
    due = Killed()
    went_on = False
    marked = transact(database, lambda connection: _mark_deleted(connection, project_id, principal))
    while batch := transact(database, lambda connection: _delete_some(connection, project_id, principal)):
        went_on = True
        due.task_ids += batch.task_ids
    if not (marked or went_on):
        raise NotFound(f"there is no project {project_id}")
    return due


def _mark_deleted(connection: Connection, project_id: UUID, principal: Principal) -> bool:
    statement = update(Project).where(Project.id == project_id, Project.deleted_at.is_(None))
    if principal.only is not None:
        statement = statement.where(Project.created_by == principal.only)
    marked = connection.scalar(statement.values(deleted_at=func.now(), updated_at=func.now()).returning(Project.id))
    if marked is not None:
        secrets.remove_all(connection, project_id)
    return marked is not None


def _delete_some(connection: Connection, project_id: UUID, principal: Principal) -> Killed | None:
    """Some workspaces of a deleted project; None when there are no more."""
    live = (
        select(Workspace.id)
        .join(Task, Task.id == Workspace.task_id)
        .join(Project, Project.id == Task.project_id)
        .where(Task.project_id == project_id, Project.deleted_at.is_not(None), Workspace.deleted_at.is_(None))
        .order_by(Workspace.id)
        .limit(WORKSPACES_AT_ONCE)
    )
    if principal.only is not None:
        live = live.where(Project.created_by == principal.only)
    ids = connection.scalars(live).all()
    return delete_workspaces(connection, ids, principal.owner) if ids else None


def agent_profiles(connection: Connection, project_id: UUID) -> Profiles:
    """What a project says of its own about agents; empty where it says nothing, or is not there."""
    found: Profiles | None = connection.scalar(select(Project.agent_profiles).where(Project.id == project_id))
    return found or {}


def implicit_project(connection: Connection, url: str, principal: Principal) -> UUID | None:
    """The project that a run of this repo without a project gets, if there is one already."""
    statement = select(Project.id).where(
        Project.created_by == principal.owner, Project.implicit_key == url, Project.deleted_at.is_(None)
    )
    return connection.scalar(statement)


def of_workspace(connection: Connection, workspace_id: UUID) -> UUID | None:
    """The project of a workspace's task."""
    statement = (
        select(Task.project_id).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == workspace_id)
    )
    return connection.scalar(statement)


def set_agent_profiles(connection: Connection, project_id: UUID, profiles: Profiles) -> None:
    """Replace them; checked by the caller."""
    statement = update(Project).where(Project.id == project_id)
    connection.execute(statement.values(agent_profiles=dict(profiles) or None, updated_at=func.now()))


def repo_defaults(connection: Connection, project_id: UUID, url: str) -> RepoDefaults | None:
    """What the project says about runs of one of its repos; None for a repo that it does not have."""
    columns = (ProjectRepo.setup_script, ProjectRepo.cleanup_script, ProjectRepo.parallel_setup_script)
    row = connection.execute(
        select(*columns)
        .join(Repo, Repo.id == ProjectRepo.repo_id)
        .where(ProjectRepo.project_id == project_id, Repo.path == url)
    ).one_or_none()
    return RepoDefaults(*row) if row else None


def task(connection: Connection, task_id: UUID, principal: Principal) -> View:
    """One task and its workspaces (attempts) that are not deleted, in the order of creation.

    Raises:
        NotFound: it is not there for this principal, or its project is deleted.
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
    """What all turns of a task took, by name."""
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


def _projects(principal: Principal) -> Select[Any]:
    columns: list[Any] = [
        Project.id,
        Project.name,
        Project.default_image,
        Project.implicit_key.label("default_for"),
        Project.created_by,
        Project.created_at,
        Project.updated_at,
    ]
    statement = select(*columns).where(Project.deleted_at.is_(None))
    return statement if principal.only is None else statement.where(Project.created_by == principal.only)


def _with_repos(connection: Connection, views: list[View]) -> list[View]:
    columns = (
        ProjectRepo.project_id,
        Repo.id.label("repo_id"),
        Repo.name,
        Repo.path.label("url"),
        ProjectRepo.setup_script,
        ProjectRepo.cleanup_script,
        ProjectRepo.parallel_setup_script,
        ProjectRepo.state,
        ProjectRepo.clone_error,
    )
    ids = [view["id"] for view in views]
    statement = select(*columns).join(Repo, Repo.id == ProjectRepo.repo_id).where(ProjectRepo.project_id.in_(ids))
    repos: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in connection.execute(statement.order_by(Repo.name, Repo.id)).mappings():
        repos.setdefault(row["project_id"], []).append(dict(row))
    return [{**view, "repos": repos.get(view["id"], [])} for view in views]
