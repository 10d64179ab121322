"""A repo as a request names it, completed by defaults: request over project over repo."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, null, or_, select

from relay_core.domain.git.branch_name import repo_name_from_url, unique_names
from relay_core.domain.job_settings import PROJECT, REPO, REQUEST, SCRIPT_FIELDS
from relay_core.store.schema.tables import Project, ProjectRepo, Repo
from relay_core.store.workspaces.fork import RecordedState

_OF_REPO = {
    "target_branch": Repo.default_target_branch,
    "working_dir": Repo.default_working_dir,
    "setup_script": Repo.setup_script,
    "cleanup_script": Repo.cleanup_script,
    "archive_script": Repo.archive_script,
    "dev_server_script": Repo.dev_server_script,
    "parallel_setup_script": Repo.parallel_setup_script,
    "copy_files": Repo.copy_files,
}
"""Column of a repo with the default, by field of `RepoInput`."""
_OF_PROJECT = {
    "setup_script": ProjectRepo.setup_script,
    "cleanup_script": ProjectRepo.cleanup_script,
    "parallel_setup_script": ProjectRepo.parallel_setup_script,
    "copy_files": ProjectRepo.copy_files,
}
"""Column of a repo in a project with the default, by field of `RepoInput`."""
_TOLD = (*SCRIPT_FIELDS, "working_dir")
"""Fields of which `sources` tells where they came from; `target_branch` is told only if it came from the repo."""


@dataclass(frozen=True)
class RepoInput:
    """A repo of a run. Its URL is checked and has no credentials; its working directory is relative.

    What is None is left to the project and to the repo itself. An empty script means "no script", an empty working
    directory the root of the repo.
    """

    url: str
    target_branch: str | None = None
    ref: str | None = None
    """Branch, tag, commit id or full ref name from which the work starts; None: the target branch."""
    working_dir: str | None = None
    setup_script: str | None = None
    cleanup_script: str | None = None
    dev_server_script: str | None = None
    archive_script: str | None = None
    parallel_setup_script: bool | None = None
    setup_as_root: bool = False
    copy_files: str | None = None
    """Patterns of files that git does not have and that the clone gets; a request does not give them."""
    start: RecordedState | None = None
    """The recorded state of another workspace from which the work starts; None: it starts from the remote."""


def with_defaults(
    connection: Connection, repos: Sequence[RepoInput], project_id: UUID | None, owner: str
) -> tuple[list[RepoInput], dict[str, str]]:
    """Return repos with what they leave open taken from the project, and then from the repos themselves.

    Args:
        connection: any transaction.
        repos: as the request names them.
        project_id: the project; None: it does not exist yet, so only the owner's repos count.
        owner: owner of the new workspace. The project may be another's: then its repos count before the owner's.

    Returns:
        The completed repos, and where each value came from, by `repos.NAME.FIELD` (`domain.job_settings`).
    """
    values = {"urls": sorted({repo.url for repo in repos}), "owner": owner, "project": project_id}
    found: dict[str, Mapping[str, Any]] = {}
    for row in connection.execute(_defaults(in_project=project_id is not None), values).mappings():
        if row["path"] not in found or row["in_project"] is not None:
            found[row["path"]] = dict(row)
    names = unique_names([repo_name_from_url(repo.url) for repo in repos])
    filled: list[RepoInput] = []
    sources: dict[str, str] = {}
    for name, repo in zip(names, repos, strict=True):
        complete, told = _completed(repo, found.get(repo.url, {}))
        filled.append(complete)
        sources |= {f"repos.{name}.{key}": source for key, source in told}
    return filled, sources


def _completed(repo: RepoInput, defaults: Mapping[str, Any]) -> tuple[RepoInput, Iterable[tuple[str, str]]]:
    values: dict[str, Any] = {}
    told: list[tuple[str, str]] = []
    for key in _OF_REPO:
        layers = ((REQUEST, vars(repo)[key]), (PROJECT, defaults.get(f"project_{key}")), (REPO, defaults.get(key)))
        source, value = next((layer for layer in layers if layer[1] is not None), (None, None))
        values[key] = value
        if source is not None and (key in _TOLD or (source == REPO and key == "target_branch")):
            told.append((key, source))
    return replace(repo, **values), told


@cache
def _defaults(*, in_project: bool) -> Select[Any]:
    """Return the statement that selects the defaults of repos by URL; building it costs more than carrying it out."""
    project: Any = bindparam("project")
    columns: list[Any] = [Repo.path, *(column.label(key) for key, column in _OF_REPO.items())]
    if in_project:
        columns += [ProjectRepo.project_id.label("in_project")]
        columns += [column.label(f"project_{key}") for key, column in _OF_PROJECT.items()]
    else:
        columns += [null().label("in_project")]
    statement: Select[Any] = select(*columns).where(
        Repo.path.in_(bindparam("urls", expanding=True)), Repo.deleted_at.is_(None)
    )
    mine = Repo.created_by == bindparam("owner")
    if not in_project:
        return statement.where(mine)
    there = (ProjectRepo.repo_id == Repo.id) & (ProjectRepo.project_id == project)
    of_project = select(Project.created_by).where(Project.id == project).scalar_subquery()
    return statement.outerjoin(ProjectRepo, there).where(or_(mine, Repo.created_by == of_project))
