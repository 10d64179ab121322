"""Runs as the API shows them to one principal, which sees the runs of its workspaces or, as an admin, all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, or_, select

from relay_core.domain.errors import NotFound
from relay_core.domain.vocabulary import Conclusion, RunStatus
from relay_core.store.schema.tables import Project, Repo, Run, Session, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.views import run_parts, run_titles
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]
"""Fields of `relay_api.schemas.run_resource.RunDetail`, without its links."""


@dataclass(frozen=True)
class RunFilter:
    """Conditions on the runs of a list; an empty or None value sets no condition."""

    status: Sequence[RunStatus] = ()
    conclusion: Sequence[Conclusion] = ()
    project: str | None = None
    """Id or name of a project."""
    repo: str | None = None
    """URL of a repository, or the name of its clone."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names and values; a run must have all of them."""
    since: datetime | None = None
    """Only runs that were created at this time or later."""
    q: str | None = None
    """A text that the title contains; upper and lower case count as the same."""
    workspace_id: UUID | None = None


# Built once: building these statements costs more than carrying them out.
_RUNS = (
    select(
        Run.id,
        Run.kind,
        Run.title,
        Run.labels,
        Run.details.label("metadata"),
        Run.status,
        Run.conclusion,
        Run.priority,
        Workspace.needs,
        Run.deciding_execution_id,
        Run.workspace_id,
        Run.session_id,
        Run.project_id,
        Run.rerun_of,
        Run.created_by,
        Run.created_at,
        Run.started_at,
        Run.completed_at,
        Project.name.label("project_name"),
        Workspace.task_id,
        Workspace.branch,
        Workspace.node_id,
        Workspace.resolved_image.label("image"),
        Session.executor,
    )
    .join(Workspace, Workspace.id == Run.workspace_id)
    .join(Project, Project.id == Run.project_id)
    .join(Session, Session.id == Run.session_id)
)
_RUN = _RUNS.where(Run.id == bindparam("run"))
_OWN_RUN = _RUN.where(Run.owner == bindparam("of_owner"))


def list_runs(connection: Connection, principal: Principal, conditions: RunFilter, page: PageRequest) -> Page:
    """Return a page of runs, newest first. Runs of deleted workspaces are included, as a record of what happened."""
    statement = _filtered(connection, _runs(principal), conditions, principal)
    rows: list[View] = []
    if conditions.q is not None:
        near = run_titles.among_newest(statement, conditions.q, page)
        rows = [dict(row) for row in connection.execute(near).mappings()]
        statement = run_titles.containing(statement, conditions.q)
    if len(rows) <= page.limit:
        ordered = paged(statement, Run.created_at, Run.id, page, newest_first=True)
        rows = [dict(row) for row in connection.execute(ordered).mappings()]
    found = cut(rows, page)
    return Page(run_parts.completed(connection, found.items), found.next_cursor)


def run(connection: Connection, run_id: UUID, principal: Principal) -> View:
    """Return one run.

    Raises:
        NotFound: there is no such run, or it belongs to another owner.
    """
    statement = _RUN if principal.only is None else _OWN_RUN
    row = connection.execute(statement, {"run": run_id, "of_owner": principal.only}).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return run_parts.completed(connection, [dict(row)])[0]


def _runs(principal: Principal) -> Select[Any]:
    return _RUNS if principal.only is None else _RUNS.where(Run.owner == principal.only)


def _filtered(connection: Connection, statement: Select[Any], wanted: RunFilter, principal: Principal) -> Select[Any]:
    """Return the statement with all conditions but that on the title."""
    if wanted.status:
        statement = statement.where(Run.status.in_(wanted.status))
    if wanted.conclusion:
        statement = statement.where(Run.conclusion.in_(wanted.conclusion))
    # Names become ids first: Postgres knows how many rows an id has, and so whether an index of its own pays off.
    if wanted.project is not None:
        project_id = _uuid(wanted.project)
        named = select(Project.id).where(Project.name == wanted.project)
        ids = [project_id] if project_id else list(connection.scalars(named))
        statement = statement.where(Run.project_id.in_(ids))
    if wanted.repo is not None:
        repos = select(Repo.id).where(or_(Repo.path == wanted.repo, Repo.name == wanted.repo))
        if principal.only is not None:
            repos = repos.where(Repo.created_by == principal.only)  # the repos of an owner's workspaces are its own
        cloned = select(WorkspaceRepo.workspace_id).where(WorkspaceRepo.repo_id.in_(list(connection.scalars(repos))))
        statement = statement.where(Run.workspace_id.in_(cloned))
    if wanted.labels:
        statement = statement.where(Run.labels.contains(dict(wanted.labels)), Run.labels != {})
    if wanted.since is not None:
        statement = statement.where(Run.created_at >= wanted.since)
    if wanted.workspace_id is not None:
        statement = statement.where(Run.workspace_id == wanted.workspace_id)
    return statement


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
