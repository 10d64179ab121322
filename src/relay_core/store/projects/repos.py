"""Git remotes as rows of `repos`: one row for each owner and URL, shared by all of the owner's projects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.git.branch_name import repo_name_from_url
from relay_core.domain.short_id import id_range
from relay_core.store.schema.tables import Project, ProjectRepo, Repo, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]
"""Fields of `relay_api.schemas.repos.RepoOut`, without its links."""
# The rows are parameters: a statement that contains rows is compiled each time.
_ADD = insert(Repo).on_conflict_do_nothing()
_LINK = insert(ProjectRepo).on_conflict_do_nothing()
_FOUND = (
    select(Repo.path, Repo.id)
    .where(Repo.created_by == bindparam("owner"), Repo.path.in_(bindparam("urls", expanding=True)))
    .where(Repo.deleted_at.is_(None))
    .with_for_update(read=True, key_share=True)
)
"""Locks the rows as a foreign key to them does, so that no repo is deleted while it is put to use."""
_COLUMNS: Sequence[Any] = (
    Repo.id,
    Repo.path.label("url"),
    Repo.name,
    Repo.display_name,
    Repo.setup_script,
    Repo.cleanup_script,
    Repo.archive_script,
    Repo.dev_server_script,
    Repo.parallel_setup_script,
    Repo.copy_files,
    Repo.default_target_branch,
    Repo.default_working_dir,
    Repo.created_by,
    Repo.created_at,
    Repo.updated_at,
)


@dataclass(frozen=True)
class RepoFilter:
    """Conditions on the repos of a list; None sets no condition."""

    url: str | None = None
    name: str | None = None
    project_id: UUID | None = None


@dataclass(frozen=True)
class NamedRepo:
    """A repo of a project."""

    id: UUID
    name: str
    url: str


@dataclass(frozen=True)
class ProjectRepos:
    """A project and its repos, ordered by their names."""

    project_id: UUID
    repos: Sequence[NamedRepo]

    def named(self, text: str, field: str) -> NamedRepo:
        """Return the repo that a client's text stands for: a name, a URL, an id, or the beginning of an id.

        Raises:
            InvalidInput: `repo_unknown`: it stands for none, or for several.
        """
        ids = id_range(text)
        found = [repo for repo in self.repos if text in {repo.name, repo.url}] or [
            repo for repo in self.repos if ids is not None and ids.first <= repo.id <= ids.last
        ]
        if len(found) != 1:
            has = ", ".join(f"{repo.name} ({repo.url})" for repo in found or self.repos)
            message = f"{text} stands for {len(found) or 'no'} repositories of the project: {has}"
            raise InvalidInput(message, code="repo_unknown", field=field)
        return found[0]


def of_project(connection: Connection, project_id: UUID) -> ProjectRepos:
    """Return the repos of a project."""
    found = select(Repo.id, Repo.name, Repo.path).join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
    found = found.where(ProjectRepo.project_id == project_id).order_by(Repo.name, Repo.id)
    return ProjectRepos(project_id, [NamedRepo(*row) for row in connection.execute(found)])


def ensure(connection: Connection, urls: Iterable[str], owner: str) -> dict[str, UUID]:
    """Return the ids of an owner's repos by URL; insert the rows that are missing.

    Rows are inserted in the order of their URLs, and existing rows are not written, so two transactions with the same
    repos cannot deadlock.
    """
    wanted = sorted(set(urls))
    rows = [
        {"id": uuid4(), "path": url, "name": name, "display_name": name, "created_by": owner}
        for url in wanted
        for name in [repo_name_from_url(url)]
    ]
    if not rows:
        return {}
    found: dict[str, UUID] = {}
    while len(found) < len(wanted):  # again only if a repo was deleted in between
        connection.execute(_ADD, rows)
        locked = connection.execute(_FOUND, {"owner": owner, "urls": wanted})
        found = {row.path: row.id for row in locked}
    return found


def link(connection: Connection, project_id: UUID, repo_ids: Sequence[UUID]) -> None:
    """Add repos to a project; the scripts of repos that are in it already do not change."""
    rows = [{"project_id": project_id, "repo_id": repo_id} for repo_id in sorted(repo_ids)]
    if rows:
        connection.execute(_LINK, rows)


def create(connection: Connection, url: str, fields: Mapping[str, Any], principal: Principal) -> UUID:
    """Insert a repo of the principal; return its id.

    Args:
        connection: one transaction.
        url: checked, without credentials.
        fields: values of the other columns that a client may set; those it leaves out are empty.
        principal: owner of the repo.

    Raises:
        Conflict: `repo_exists`: the principal has a repo with this URL, for example because a run named it.
    """
    name = repo_name_from_url(url)
    values = {"id": uuid4(), "path": url, "name": name, "display_name": name, "created_by": principal.owner}
    values |= {key: value for key, value in fields.items() if value is not None}
    made: UUID | None = connection.scalar(insert(Repo).values(values).on_conflict_do_nothing().returning(Repo.id))
    if made is None:
        message = f"you have a repository with this URL: {name}; change it, or look it up by its URL"
        raise Conflict(message, code="repo_exists")
    return made


def get(connection: Connection, repo_id: UUID, principal: Principal) -> View:
    """Return one repo, with the ids of the projects that have it.

    Raises:
        NotFound: there is no such repo, it is deleted, or it belongs to another owner.
    """
    row = connection.execute(_repos(principal).where(Repo.id == repo_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no repository {repo_id}")
    return _with_projects(connection, [dict(row)])[0]


def listed(connection: Connection, principal: Principal, conditions: RepoFilter, page: PageRequest) -> Page:
    """Return a page of the repos that are not deleted, newest first; an admin gets those of all owners."""
    wanted = _repos(principal)
    if conditions.url is not None:
        wanted = wanted.where(Repo.path == conditions.url)
    if conditions.name is not None:
        wanted = wanted.where(Repo.name == conditions.name)
    if conditions.project_id is not None:
        there = select(ProjectRepo.repo_id).where(ProjectRepo.project_id == conditions.project_id)
        wanted = wanted.where(Repo.id.in_(there))
    ordered = paged(wanted, Repo.created_at, Repo.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_projects(connection, found.items), found.next_cursor)


def change(connection: Connection, repo_id: UUID, patch: Mapping[str, Any], principal: Principal) -> None:
    """Change a repo by a merge patch (RFC 7396). Workspaces that exist keep what they were made with.

    Args:
        connection: one transaction.
        repo_id: the repo.
        patch: new values by column; None clears, `display_name` becomes the name again.
        principal: who asks.

    Raises:
        NotFound: as in `get`.
    """
    name = _locked(connection, repo_id, principal)
    cleared = {"display_name": name, "parallel_setup_script": False}
    values = {key: cleared.get(key) if value is None else value for key, value in patch.items()}
    if values:
        connection.execute(update(Repo).where(Repo.id == repo_id).values(**values, updated_at=func.now()))


def delete(connection: Connection, repo_id: UUID, principal: Principal) -> None:
    """Mark a repo as deleted. A later run or project with its URL makes a new one, without defaults.

    Raises:
        NotFound: as in `get`.
        Conflict: `repo_in_use`: a project or a workspace that is not deleted has it.
    """
    _locked(connection, repo_id, principal)
    of_project = select(Project.name).join(ProjectRepo, ProjectRepo.project_id == Project.id)
    project = connection.scalar(of_project.where(ProjectRepo.repo_id == repo_id, Project.deleted_at.is_(None)).limit(1))
    if project is not None:
        message = f"project {project} has this repository; take it out of the project, or delete the project"
        raise Conflict(message, code="repo_in_use")
    of_workspace = select(Workspace.id).join(WorkspaceRepo, WorkspaceRepo.workspace_id == Workspace.id)
    workspace = connection.scalar(
        of_workspace.where(WorkspaceRepo.repo_id == repo_id, Workspace.deleted_at.is_(None)).limit(1)
    )
    if workspace is not None:
        raise Conflict(f"workspace {workspace} has a clone of this repository; delete it first", code="repo_in_use")
    connection.execute(update(Repo).where(Repo.id == repo_id).values(deleted_at=func.now(), updated_at=func.now()))


def _locked(connection: Connection, repo_id: UUID, principal: Principal) -> str:
    found = select(Repo.name).where(Repo.id == repo_id, Repo.deleted_at.is_(None)).with_for_update()
    if principal.only is not None:
        found = found.where(Repo.created_by == principal.only)
    name: str | None = connection.scalar(found)
    if name is None:
        raise NotFound(f"there is no repository {repo_id}")
    return name


def _repos(principal: Principal) -> Select[Any]:
    statement = select(*_COLUMNS).where(Repo.deleted_at.is_(None))
    return statement if principal.only is None else statement.where(Repo.created_by == principal.only)


def _with_projects(connection: Connection, views: list[View]) -> list[View]:
    having = select(ProjectRepo.repo_id, Project.id).join(Project, Project.id == ProjectRepo.project_id)
    having = having.where(ProjectRepo.repo_id.in_([view["id"] for view in views]), Project.deleted_at.is_(None))
    projects: dict[UUID, list[UUID]] = {}
    for repo_id, project_id in connection.execute(having.order_by(Project.created_at, Project.id)):
        projects.setdefault(repo_id, []).append(project_id)
    return [{**view, "project_ids": projects.get(view["id"], [])} for view in views]
