"""Routes of repositories: git remotes with defaults for the runs and workspaces that use them."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject, RepoId, RepoItself
from relay_api.schemas import answers, inputs
from relay_api.schemas.common import GitUrlText, ShortText
from relay_api.schemas.repos import RepoChange, RepoCreateIn, RepoDeleted, RepoOut, RepoPage
from relay_core.store.database import Connection
from relay_core.store.projects import repos

router = APIRouter(prefix="/v1/repos", tags=["repos"])


@router.post(
    "",
    status_code=201,
    response_model=RepoOut,
    responses=problems(409, body=True),
    summary="Create a repository",
)
def create_repo(body: RepoCreateIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Store a git remote with its defaults; nothing is cloned. A run that names its URL makes it, too, without them.

    Request, job file and project come before the defaults of the repository.
    """
    url = inputs.checked_url(body.url, "url", services.settings)
    fields = inputs.repo_fields(body)

    def create(connection: Connection) -> RepoOut:
        repo_id = repos.create(connection, url, fields, principal)
        return answers.repo(repos.get(connection, repo_id, principal), services.links)

    return creating.answer(principal, body, 201, create)


@router.get("", responses=problems(404), summary="List repositories, newest first")
def list_repos(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    project_id: OfProject,
    url: Annotated[GitUrlText | None, Query(description="Only the one with this URL.")] = None,
    name: Annotated[ShortText | None, Query(description="Only those with this name.")] = None,
) -> RepoPage:
    """List the repositories that are not deleted, including those that runs and projects have made."""
    wanted = inputs.checked_url(url, "query.url", services.settings) if url else None
    with services.database.connect() as connection:
        found = repos.listed(connection, principal, repos.RepoFilter(wanted, name, project_id), page)
    return answers.repo_page(found, services.links)


@router.get("/{repo_id}", responses=problems(404), summary="Get a repository")
def get_repo(repo_id: RepoId, services: ServicesDep, principal: Reader) -> RepoOut:
    """Return one repository with its defaults and the projects that have it."""
    with services.database.connect() as connection:
        return answers.repo(repos.get(connection, repo_id, principal), services.links)


@router.patch("/{repo_id}", responses=problems(404, body=True), summary="Change a repository")
def change_repo(repo_id: RepoItself, body: RepoChange, services: ServicesDep, principal: Writer) -> RepoOut:
    """Apply a merge patch (RFC 7396) to the defaults of a repository. Workspaces that exist keep theirs."""
    patch = inputs.repo_fields(body)

    def apply(connection: Connection) -> RepoOut:
        repos.change(connection, repo_id, patch, principal)
        return answers.repo(repos.get(connection, repo_id, principal), services.links)

    return services.database.transact(apply)


@router.delete("/{repo_id}", responses=problems(404, 409), summary="Delete a repository")
def delete_repo(repo_id: RepoItself, services: ServicesDep, principal: Writer) -> RepoDeleted:
    """Forget a repository and its defaults. While a project or a workspace has it: 409 `repo_in_use`."""

    def forget(connection: Connection) -> RepoDeleted:
        repos.delete(connection, repo_id, principal)
        return RepoDeleted(id=repo_id)

    return services.database.transact(forget)
