"""Projects with their repos, scripts and agent profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.agents import profiles
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import CloneState
from relay_core.store import operations
from relay_core.store.executions.kill import kill
from relay_core.store.projects import clones, first_plan, repos, secrets, stored_files
from relay_core.store.schema.tables import Mirror, Project, ProjectRepo, Repo, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.views.paging import Page, PageRequest, cut, paged
from relay_core.store.workspaces import lane
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.generation import check_project_generation

View = dict[str, Any]
_IDLE = ("idle_stop_hours", "idle_archive_hours", "idle_delete_hours")
_GIVEN = ("name", "default_image", "default_agent_working_dir", "remote_project_id", *_IDLE)
"""Columns that are fields of `ProjectInput`."""
WORKSPACES_AT_ONCE = 20
"""Most workspaces that one transaction of `delete` deletes."""


@dataclass(frozen=True)
class ProjectRepoInput:
    """A repo of a new project, with scripts for runs that bring none of their own.

    Attributes:
        url: checked, without credentials.
    """

    url: str
    setup_script: str | None = None
    cleanup_script: str | None = None
    copy_files: str | None = None
    parallel_setup_script: bool | None = None
    """None: that of the repo."""


@dataclass(frozen=True)
class ProjectInput:
    """A project as `POST /v1/projects` asks for it, validated."""

    name: str
    default_image: str | None = None
    repos: Sequence[ProjectRepoInput] = field(default_factory=list)
    default_for: str | None = None
    """URL of a repo: runs of this repo that name no project will belong to the new project."""
    default_agent_working_dir: str | None = None
    """As a workspace's (`domain.working_dir`)."""
    remote_project_id: UUID | None = None
    """Id of the project in another Relay that this one stands for."""
    idle_stop_hours: float | None = None
    """Hours after which its idle workspaces are stopped (`domain.expiry`); None: the server's; 0: never."""
    idle_archive_hours: float | None = None
    idle_delete_hours: float | None = None


def create(connection: Connection, project: ProjectInput, principal: Principal) -> UUID:
    """Insert a project with its repos.

    Returns:
        Id of the project.

    Raises:
        InvalidInput: a repo is named twice.
        Conflict: `default_project_exists`: `default_for` names a repo that has a default project already;
            `project_name_taken`: the principal has a project of this name.
    """
    project_id = uuid4()
    values: dict[str, Any] = {"created_by": principal.owner}
    values |= {key: getattr(project, key) for key in _GIVEN}
    if not project.repos:
        values["state"] = CloneState.READY
    made = upsert(Project).values(id=project_id, implicit_key=project.default_for, **values)
    if not connection.scalar(made.on_conflict_do_nothing().returning(Project.id)):
        raise _taken(connection, project, principal)
    urls = [repo.url for repo in project.repos]
    repo_ids = repos.ensure(connection, urls, principal.owner)
    for position, repo in enumerate(project.repos):
        if repo.url in urls[:position]:
            raise InvalidInput("the same repository is named twice", field=f"repos.{position}.url")
        given = {key: value for key, value in vars(repo).items() if key != "url"}
        connection.execute(insert(ProjectRepo).values(project_id=project_id, repo_id=repo_ids[repo.url], **given))
    note_created(connection, project_id, project.name, principal)
    return project_id


def note_created(connection: Connection, project_id: UUID, name: str, principal: Principal) -> None:
    """Append the event of a new project."""
    payload = {"name": name, "by": principal.owner}
    subject = operations.of_project(project_id, principal.owner)
    operations.record(connection, OperationKind.PROJECT_CREATE, subject, EventKind.PROJECT_CREATED, payload)


def _taken(connection: Connection, project: ProjectInput, principal: Principal) -> Conflict:
    if project.default_for is not None and implicit_project(connection, project.default_for, principal) is not None:
        message = f"runs of {project.default_for} without a project_id have a project already; see `default_for`"
        return Conflict(message, code="default_project_exists")
    message = "you have a project of this name; use it by its name, or choose another name"
    return Conflict(message, code="project_name_taken")


def get(connection: Connection, project_id: UUID, principal: Principal) -> View:
    """Return one project with its repos and the state of their git mirrors, as the API shows it.

    Raises:
        NotFound: there is no such project, it is deleted, or it belongs to another owner.
    """
    row = connection.execute(_projects(principal).where(Project.id == project_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no project {project_id}")
    return _with_repos(connection, [dict(row)])[0]


def names(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the names of projects by id, also of deleted ones."""
    rows = connection.execute(select(Project.id, Project.name).where(Project.id.in_(ids))) if ids else ()
    return {row.id: row.name for row in rows}


def require(connection: Connection, project_id: UUID, principal: Principal) -> None:
    """Raise an error unless the principal may see the project, which may be deleted.

    Raises:
        NotFound: there is no such project, or it belongs to another owner.
    """
    found = select(Project.id).where(Project.id == project_id)
    if principal.only is not None:
        found = found.where(Project.created_by == principal.only)
    if connection.scalar(found) is None:
        raise NotFound(f"there is no project {project_id}")


def listed(
    connection: Connection,
    principal: Principal,
    page: PageRequest,
    *,
    default_for: str | None = None,
    state: str | None = None,
) -> Page:
    """Return a page of the projects that are not deleted, newest first.

    Args:
        connection: any transaction.
        principal: gets only its own projects, unless it is an admin.
        page: which part of the list.
        default_for: URL of a repo. If given, only the principal's project for runs of that repo that name no project.
        state: only projects in this state; None: all.
    """
    wanted = _projects(principal)
    if state is not None:
        wanted = wanted.where(Project.state == state)
    if default_for is not None:
        wanted = wanted.where(Project.implicit_key == default_for, Project.created_by == principal.owner)
    ordered = paged(wanted, Project.created_at, Project.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_repos(connection, found.items), found.next_cursor)


def delete(database: Database, project_id: UUID, principal: Principal, generation: str | None = None) -> int:
    """Mark a project and all its workspaces as deleted, and kill their executions.

    This takes several short transactions, each with `WORKSPACES_AT_ONCE` workspaces: during one long transaction the
    leases of the project's executions could not be renewed. If the deletion is interrupted, call this again to continue
    it, with the same generation or any other.

    Args:
        database: where it is done.
        project_id: the project.
        principal: who deletes it.
        generation: of the preview that the principal has read; None: none.

    Returns:
        How many running executions were asked to end.

    Raises:
        Conflict: `stale_generation`.
        NotFound: there is no such project, it is deleted, or it belongs to another owner.
    """
    marked = database.transact(lambda connection: _mark_deleted(connection, project_id, principal, generation))
    killed = delete_rest(database, project_id, principal)
    if not marked and killed is None:
        raise NotFound(f"there is no project {project_id}")
    return killed or 0


def delete_rest(database: Database, project_id: UUID, principal: Principal) -> int | None:
    """Delete the workspaces that a project still has which is marked as deleted, in short transactions.

    It ends early if the project is restored meanwhile.

    Returns:
        How many running executions were asked to end; None if there was no workspace to delete.
    """
    killed = None
    while (batch := database.transact(lambda connection: _delete_some(connection, project_id, principal))) is not None:
        killed = (killed or 0) + batch
    return killed


def _mark_deleted(connection: Connection, project_id: UUID, principal: Principal, generation: str | None) -> bool:
    wanted = select(Project.name, Project.created_by).where(Project.id == project_id, Project.deleted_at.is_(None))
    if principal.only is not None:
        wanted = wanted.where(Project.created_by == principal.only)
    clones.lock_active(connection, project_id)  # the end of a clone locks the clone before the project, too
    marked = connection.execute(wanted.with_for_update(key_share=True)).one_or_none()
    if marked is None:  # its deletion may have been interrupted
        return False
    check_project_generation(connection, project_id, generation)
    values = {"deleted_at": func.now(), "updated_at": func.now()}
    connection.execute(update(Project).where(Project.id == project_id).values(values))
    secrets.remove_all(connection, project_id)
    stored_files.remove_all(connection, project_id)
    first_plan.drop(connection, project_id)
    for execution_id in clones.active(connection, project_id):
        kill(connection, [execution_id], principal.owner)
    payload = {"name": marked.name, "by": principal.owner}
    subject = operations.of_project(project_id, marked.created_by)
    operations.record(connection, OperationKind.PROJECT_DELETE, subject, EventKind.PROJECT_DELETED, payload)
    return True


def _delete_some(connection: Connection, project_id: UUID, principal: Principal) -> int | None:
    """Delete up to `WORKSPACES_AT_ONCE` workspaces of a project that is marked as deleted.

    Returns:
        How many running executions were asked to end; None if no workspace was left, or the project is restored.
    """
    live = select(Workspace.id).join(Task, Task.id == Workspace.task_id)
    live = live.where(Task.project_id == project_id, Workspace.deleted_at.is_(None))
    ids = connection.scalars(live.order_by(Workspace.id).limit(WORKSPACES_AT_ONCE)).all()
    for workspace_id in ids:
        lane.lock(connection, workspace_id)  # the end of a step locks the lane before the project, too
    if not ids or not hold_deleted(connection, project_id, principal):
        return None
    return delete_workspaces(connection, ids, principal.owner)


def hold_deleted(connection: Connection, project_id: UUID, principal: Principal) -> bool:
    """Return whether a project is deleted, and keep out its restoration until the transaction ends."""
    deleted = select(Project.id).where(Project.id == project_id, Project.deleted_at.is_not(None))
    if principal.only is not None:
        deleted = deleted.where(Project.created_by == principal.only)
    return connection.scalar(deleted.with_for_update(read=True)) is not None


_PROFILES = select(Project.agent_profiles).where(Project.id == bindparam("project"))


def agent_profiles(connection: Connection, project_id: UUID) -> Profiles:
    """Return a project's own agent profiles; empty if it has none, or if there is no such project."""
    found: Profiles | None = connection.scalar(_PROFILES, {"project": project_id})
    return found or {}


def profiles_over(connection: Connection, deployment: Profiles, project_id: UUID | None) -> Profiles:
    """Return the agent profiles for a run: the deployment's, overridden by those of the project.

    Args:
        connection: any transaction.
        deployment: agent profiles of the server.
        project_id: the run's project; None: only the deployment's profiles count.
    """
    if project_id is None:
        return deployment
    return profiles.overlay(deployment, agent_profiles(connection, project_id))


_IMPLICIT = select(Project.id).where(
    Project.created_by == bindparam("owner"), Project.implicit_key == bindparam("url"), Project.deleted_at.is_(None)
)


def implicit_project(connection: Connection, url: str, principal: Principal) -> UUID | None:
    """Return the principal's project for runs of a repo that name no project.

    None: there is none yet; the next such run creates it.
    """
    return connection.scalar(_IMPLICIT, {"owner": principal.owner, "url": url})


def of_workspace(connection: Connection, workspace_id: UUID) -> UUID | None:
    """Return the project of a workspace's task; None if there is no such workspace."""
    statement = (
        select(Task.project_id).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == workspace_id)
    )
    return connection.scalar(statement)


def set_agent_profiles(connection: Connection, project_id: UUID, own: Profiles) -> None:
    """Replace a project's own agent profiles. The caller has checked them with `profiles.check`."""
    statement = update(Project).where(Project.id == project_id)
    connection.execute(statement.values(agent_profiles=dict(own) or None, updated_at=func.now()))


def _projects(principal: Principal) -> Select[Any]:
    columns: list[Any] = [
        Project.id,
        Project.name,
        Project.default_image,
        Project.default_agent_working_dir,
        Project.remote_project_id,
        Project.implicit_key.label("default_for"),
        Project.state,
        Project.clone_error,
        Project.first_state,
        Project.first_workspace_id,
        Project.first_error,
        Project.idle_stop_hours,
        Project.idle_archive_hours,
        Project.idle_delete_hours,
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
        ProjectRepo.copy_files,
        ProjectRepo.parallel_setup_script,
        *_mirror_columns(),
    )
    ids = [view["id"] for view in views]
    statement = select(*columns).join(Repo, Repo.id == ProjectRepo.repo_id).where(ProjectRepo.project_id.in_(ids))
    repos: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in connection.execute(statement.order_by(Repo.name, Repo.id)).mappings():
        repos.setdefault(row["project_id"], []).append(_repo_view(row))
    return [{**_with_first(view), "repos": repos.get(view["id"], [])} for view in views]


def _with_first(view: View) -> View:
    """Return a project with what has become of its first workspace as one field."""
    state, workspace_id, error = (view.pop(f"first_{name}") for name in ("state", "workspace_id", "error"))
    first = None if state is None else {"state": state, "workspace_id": workspace_id, "error": error}
    return {**view, "first_workspace": first}


def _mirror_columns() -> list[Any]:
    """Return columns that tell what the nodes have of a repo: whether one has fetched it, and how the last fetch ended.

    The query that they are part of selects from `ProjectRepo` and `Repo`.
    """
    mine = (Mirror.project_id == ProjectRepo.project_id, Mirror.remote == Repo.path)
    latest = [
        select(column).where(*mine).order_by(Mirror.updated_at.desc()).limit(1).correlate(ProjectRepo, Repo)
        for column in (Mirror.state, Mirror.error)
    ]
    fetched = select(Mirror.id).where(*mine, Mirror.fetched_at.is_not(None)).correlate(ProjectRepo, Repo).exists()
    state, error = (query.scalar_subquery() for query in latest)
    return [fetched.label("fetched"), state.label("latest"), error.label("clone_error")]


def _repo_view(row: RowMapping) -> View:
    view = dict(row)
    fetched, latest = view.pop("fetched"), view.pop("latest")
    return {**view, "state": CloneState.READY if fetched else latest or CloneState.CLONING}
