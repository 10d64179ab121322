"""Routes of projects and the repositories in them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ProjectId, ProjectItself, RepoItself
from relay_api.schemas import answers, inputs
from relay_api.schemas.common import GitUrlText, Input
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.previews import OfPreview
from relay_api.schemas.workspaces import (
    Deleted,
    FirstWorkspaceIn,
    ProjectChange,
    ProjectIn,
    ProjectOut,
    ProjectPage,
    ProjectRepoChange,
    ProjectRepoIn,
)
from relay_api.services import Services
from relay_core.domain.vocabulary import CloneState
from relay_core.store.database import Connection
from relay_core.store.projects import clones, project_changes, projects
from relay_core.store.projects import repos as repo_store
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views
from relay_core.store.workspaces import first_workspace

router = APIRouter(prefix="/v1", tags=["projects"])


@router.post(
    "/projects",
    status_code=202,
    response_model=ProjectOut,
    responses={201: {"model": ProjectOut, "description": "Created without repositories."}, **problems(409, body=True)},
    summary="Create a project",
)
def create_project(body: ProjectIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Create a project with a default image and repositories, and let a node clone the repositories.

    With repositories the answer is 202 and the state `cloning`; watch `state`, or the execution that clones:
    `GET /v1/executions/{project}`. Without repositories it is 201.

    Runs in the project that bring no scripts for a repository use the scripts that the project has for it.

    `first_workspace` asks for an attempt at a first task. It is made once, when the project is ready; the answer, and
    `GET /v1/projects/{project}`, tell what has become of it.
    """
    repos = [_repo(repo, f"repos.{n}.url", services) for n, repo in enumerate(body.repos)]
    default_for = inputs.checked_url(body.default_for, "default_for", services.settings) if body.default_for else None
    wanted = ProjectInput(
        body.name,
        body.default_image,
        repos,
        default_for,
        inputs.agent_dir(body.default_agent_working_dir, "default_agent_working_dir"),
        body.remote_project_id,
        body.idle_stop_hours,
        body.idle_archive_hours,
        body.idle_delete_hours,
    )

    def create(connection: Connection) -> ProjectOut:
        project_id = projects.create(connection, wanted, principal)
        if body.first_workspace is not None:
            _plan_first(connection, body.first_workspace, project_id, services, principal)
        if wanted.repos:
            clones.start_clone(connection, project_id, services.settings.pool, principal.owner)
        return answers.project(projects.get(connection, project_id, principal), services.links)

    return creating.answer(principal, body, 202 if wanted.repos else 201, create)


def _plan_first(
    connection: Connection, body: FirstWorkspaceIn, project_id: UUID, services: Services, principal: Principal
) -> None:
    there = repo_store.of_project(connection, project_id)
    wanted = inputs.first_attempt(body, there, services.settings, services.secrets)
    wanted = inputs.run_of_profile(wanted, body.profile, services.session_profiles)
    first_workspace.plan(connection, project_id, wanted, principal, services.settings, services.profiles)


@router.post(
    "/projects/{project_id}/clone",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409),
    summary="Clone a project again",
)
def clone_project(
    project_id: ProjectItself, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Let a node fetch all repositories of a project into its mirrors, for example after a clone that failed."""

    def create(connection: Connection) -> ExecutionDetail:
        projects.get(connection, project_id, principal)
        new = clones.start_clone(connection, project_id, services.settings.pool, principal.owner)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, Input(), 202, create)


@router.get("/projects", responses=problems(), summary="List projects, newest first")
def list_projects(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    default_for: Annotated[
        GitUrlText | None,
        Query(description="Only the project of your runs of this repository that name no `project_id`."),
    ] = None,
    state: Annotated[CloneState | None, Query()] = None,
) -> ProjectPage:
    """List the projects that are not deleted, including those that were created by runs without a `project_id`."""
    url = inputs.checked_url(default_for, "query.default_for", services.settings) if default_for else None
    with services.database.connect() as connection:
        found = projects.listed(connection, principal, page, default_for=url, state=state)
    return answers.project_page(found, services.links)


@router.get("/projects/{project_id}", responses=problems(404), summary="Get a project")
def get_project(project_id: ProjectId, services: ServicesDep, principal: Reader) -> ProjectOut:
    """Return one project with its repositories and the state of their git mirrors."""
    with services.database.connect() as connection:
        return answers.project(projects.get(connection, project_id, principal), services.links)


@router.patch("/projects/{project_id}", responses=problems(404, 409, body=True), summary="Change a project")
def change_project(
    project_id: ProjectItself, body: ProjectChange, services: ServicesDep, principal: Writer
) -> ProjectOut:
    """Apply a merge patch (RFC 7396) to a project. Workspaces that exist keep what they were made with."""
    patch = inputs.project_fields(body, services.settings)

    def apply(connection: Connection) -> ProjectOut:
        project_changes.change(connection, project_id, patch, principal)
        return answers.project(projects.get(connection, project_id, principal), services.links)

    return services.database.transact(apply)


@router.delete("/projects/{project_id}", status_code=202, responses=problems(404, 409), summary="Delete a project")
def delete_project(
    project_id: ProjectItself, services: ServicesDep, principal: Writer, generation: OfPreview = None
) -> Deleted:
    """Hide the project and its workspaces and kill their executions. Nodes remove the containers and put files away.

    Until the end of `RELAY_QUARANTINE_HOURS` it can be restored: `POST /v1/projects/{id}/restore`.
    """
    return Deleted(id=project_id, killed=projects.delete(services.database, project_id, principal, generation))


@router.post(
    "/projects/{project_id}/repos",
    status_code=202,
    response_model=ProjectOut,
    responses=problems(404, 409, body=True),
    summary="Add a repository to a project",
)
def add_project_repo(
    project_id: ProjectItself, body: ProjectRepoIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Add a repository, and let a node clone the project again. While a clone is under way: 409 `project_cloning`."""
    wanted, pool = _repo(body, "url", services), services.settings.pool

    def add(connection: Connection) -> ProjectOut:
        project_changes.add_repo(connection, project_id, wanted, pool, principal)
        return answers.project(projects.get(connection, project_id, principal), services.links)

    return creating.answer(principal, body, 202, add)


@router.patch(
    "/projects/{project_id}/repos/{repo_id}",
    responses=problems(404, body=True),
    summary="Change a repository in a project",
)
def change_project_repo(
    project_id: ProjectItself, repo_id: RepoItself, body: ProjectRepoChange, services: ServicesDep, principal: Writer
) -> ProjectOut:
    """Apply a merge patch (RFC 7396) to what the project says about one of its repositories."""
    patch = body.model_dump(exclude_unset=True)

    def apply(connection: Connection) -> ProjectOut:
        project_changes.change_repo(connection, project_id, repo_id, patch, principal)
        return answers.project(projects.get(connection, project_id, principal), services.links)

    return services.database.transact(apply)


@router.delete(
    "/projects/{project_id}/repos/{repo_id}", responses=problems(404), summary="Take a repository out of a project"
)
def remove_project_repo(
    project_id: ProjectItself, repo_id: RepoItself, services: ServicesDep, principal: Writer
) -> ProjectOut:
    """Take a repository out of a project. Workspaces that have a clone of it keep it."""

    def remove(connection: Connection) -> ProjectOut:
        project_changes.remove_repo(connection, project_id, repo_id, principal)
        return answers.project(projects.get(connection, project_id, principal), services.links)

    return services.database.transact(remove)


def _repo(repo: ProjectRepoIn, field: str, services: Services) -> ProjectRepoInput:
    return ProjectRepoInput(**{**repo.model_dump(), "url": inputs.checked_url(repo.url, field, services.settings)})
