"""Changes of projects by hand: their own fields, and the repos that belong to them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.store import events
from relay_core.store.projects import clones, repos, state, stored_files
from relay_core.store.projects.projects import ProjectRepoInput
from relay_core.store.schema.tables import Project, ProjectRepo
from relay_core.store.tokens import Principal

_TAKEN = {
    "projects_name": ("project_name_taken", "you have a project of this name; choose another name"),
    "projects_implicit_key": (
        "default_project_exists",
        "runs of this repository without a project_id have a project already; see `default_for`",
    ),
}
"""Code and message by the index that a change violates."""
_COLUMN = {"default_for": "implicit_key"}


def change(connection: Connection, project_id: UUID, patch: Mapping[str, Any], principal: Principal) -> None:
    """Change a project by a merge patch (RFC 7396), with an event. Workspaces that exist keep what they have.

    Args:
        connection: one transaction.
        project_id: the project.
        patch: new values of `name`, `default_image`, `default_agent_working_dir`, `remote_project_id`, `default_for`
            and `idle_…_hours`; None clears, but for the name, which then stays.
        principal: who asks.

    Raises:
        NotFound: there is no such project, it is deleted, or it belongs to another owner.
        Conflict: `project_name_taken`, `default_project_exists`.
    """
    _lock(connection, project_id, principal)
    wanted = {_COLUMN.get(key, key): value for key, value in patch.items() if key != "name" or value is not None}
    before = connection.execute(select(Project.__table__).where(Project.id == project_id)).mappings().one()
    values = {key: value for key, value in wanted.items() if before[key] != value}
    if not values:
        return
    try:
        with connection.begin_nested():
            connection.execute(update(Project).where(Project.id == project_id).values(**values, updated_at=func.now()))
    except IntegrityError as error:
        name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if name not in _TAKEN:
            raise
        code, message = _TAKEN[name]
        raise Conflict(message, code=code) from error
    _note(connection, project_id, sorted(key for key in patch if _COLUMN.get(key, key) in values), principal)


def add_repo(connection: Connection, project_id: UUID, repo: ProjectRepoInput, pool: str, principal: Principal) -> UUID:
    """Add a repo to a project and queue a clone of the project; return the id of the repo.

    Args:
        connection: one transaction of `Database`.
        project_id: the project.
        repo: the repo, and what the project says about it.
        pool: pool whose nodes may take the clone.
        principal: who asks.

    Raises:
        NotFound: as in `change`.
        Conflict: `repo_in_project`: the project has it; `project_cloning`: a clone is under way, which would miss it.
    """
    owner = _lock(connection, project_id, principal)
    repo_id = repos.ensure(connection, [repo.url], owner)[repo.url]
    if connection.scalar(select(ProjectRepo.repo_id).where(*_there(project_id, repo_id))) is not None:
        raise Conflict("the project has this repository; change it instead", code="repo_in_project")
    given = {key: value for key, value in vars(repo).items() if key != "url"}
    connection.execute(insert(ProjectRepo).values(project_id=project_id, repo_id=repo_id, **given))
    _note(connection, project_id, ["repos"], principal, repo_id)
    clones.start_clone(connection, project_id, pool, principal.owner)
    return repo_id


def change_repo(
    connection: Connection, project_id: UUID, repo_id: UUID, patch: Mapping[str, Any], principal: Principal
) -> None:
    """Change by a merge patch what a project says about one of its repos; None leaves it to the repo.

    Raises:
        NotFound: as in `change`, or the project does not have the repo.
    """
    _lock(connection, project_id, principal)
    _require_repo(connection, project_id, repo_id)
    if patch:
        connection.execute(update(ProjectRepo).where(*_there(project_id, repo_id)).values(**patch))
        _note(connection, project_id, sorted(patch), principal, repo_id)


def remove_repo(connection: Connection, project_id: UUID, repo_id: UUID, principal: Principal) -> None:
    """Take a repo out of a project, with its stored files. Workspaces that have a clone of it keep it.

    Mirrors stay until they are purged.

    Raises:
        NotFound: as in `change`, or the project does not have the repo.
    """
    _lock(connection, project_id, principal)
    _require_repo(connection, project_id, repo_id)
    connection.execute(delete(ProjectRepo).where(*_there(project_id, repo_id)))
    stored_files.remove_all(connection, project_id, repo_id)
    _note(connection, project_id, ["repos"], principal, repo_id)
    state.settle(connection, project_id)


def _lock(connection: Connection, project_id: UUID, principal: Principal) -> str:
    """Lock a project for a change; return its owner."""
    found = select(Project.created_by).where(Project.id == project_id, Project.deleted_at.is_(None))
    if principal.only is not None:
        found = found.where(Project.created_by == principal.only)
    owner: str | None = connection.scalar(found.with_for_update(key_share=True))
    if owner is None:
        raise NotFound(f"there is no project {project_id}")
    return owner


def _there(project_id: UUID, repo_id: UUID) -> tuple[Any, Any]:
    return ProjectRepo.project_id == project_id, ProjectRepo.repo_id == repo_id


def _require_repo(connection: Connection, project_id: UUID, repo_id: UUID) -> None:
    if connection.scalar(select(ProjectRepo.repo_id).where(*_there(project_id, repo_id))) is None:
        raise NotFound(f"the project has no repository {repo_id}")


def _note(
    connection: Connection, project_id: UUID, fields: list[str], principal: Principal, repo_id: UUID | None = None
) -> None:
    payload: dict[str, Any] = {"fields": fields, "by": principal.owner}
    if repo_id is not None:
        payload["repo_id"] = str(repo_id)
    events.append_to_project(connection, project_id, EventKind.PROJECT_CHANGED, payload)
