"""Routes that start runs, and further steps in existing workspaces."""

from collections.abc import Callable
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ActiveRunId, RunId, WorkspaceId
from relay_api.routes import run_query
from relay_api.schemas import answers, inputs
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.run_resource import RunDetail, RunPage
from relay_api.schemas.runs import DevServerIn, RerunIn, RunChange, RunIn, RunOut, StepIn
from relay_api.services import Services
from relay_core.store.database import Connection
from relay_core.store.runs import change
from relay_core.store.runs.rerun import rerun
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views, run_views
from relay_core.store.views.access import require_run
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.submit import start_run

router = APIRouter(prefix="/v1", tags=["runs"])


@router.post(
    "/runs",
    status_code=202,
    response_model=RunOut,
    responses=problems(404, 409, body=True),
    summary="Run a job: clone, setup scripts, agent, cleanup scripts",
)
def create_run(body: RunIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Queue a whole run in a new workspace and answer at once.

    Follow the run with `links.events` or `links.executions`. There is one execution per step, and each is created when
    the step before it has succeeded.
    """

    def create(connection: Connection) -> RunOut:
        named = body.project_id
        project_id = resolve(connection, Kind.PROJECT, named, principal, field="project_id") if named else None
        run = inputs.run(body, project_id, services.settings, services.secrets)
        run = inputs.run_of_profile(run, body.profile, services.session_profiles)
        new = start_run(connection, run, principal, services.settings, services.profiles)
        links = services.links.new_run(new.run_id, new.workspace_id, new.execution_id, new.task_id)
        return RunOut(**vars(new), links=links)

    return creating.answer(principal, body, 202, create)


@router.get("/runs", responses=problems(404), summary="List runs, newest first")
def list_runs(services: ServicesDep, principal: Reader, page: Paging, wanted: run_query.Wanted) -> RunPage:
    """List runs: jobs, follow-ups and further steps. Those of deleted workspaces are included."""
    with services.database.connect() as connection:
        found = run_views.list_runs(connection, principal, wanted, page)
    return answers.run_page(found, services.links)


@router.get("/runs/{run_id}", responses=problems(404), summary="Get a run")
def get_run(run_id: RunId, services: ServicesDep, principal: Reader) -> RunDetail:
    """Return one run. `status` says whether it is done, `conclusion` how it ended."""
    with services.database.connect() as connection:
        return answers.run(run_views.run(connection, run_id, principal), services.links)


@router.patch("/runs/{run_id}", responses=problems(404, body=True), summary="Change a run's title, labels or metadata")
def change_run(run_id: RunId, body: RunChange, services: ServicesDep, principal: Writer) -> RunDetail:
    """Apply a merge patch (RFC 7396) to the title, the labels and the metadata of a run."""

    def apply(connection: Connection) -> RunDetail:
        require_run(connection, run_id, principal)
        change.change(connection, run_id, body.model_dump(exclude_unset=True))
        return answers.run(run_views.run(connection, run_id, principal), services.links)

    return services.database.transact(apply)


@router.post("/runs/{run_id}/cancel", status_code=202, responses=problems(404), summary="Cancel a run")
def cancel_run(run_id: ActiveRunId, services: ServicesDep, principal: Writer) -> RunDetail:
    """Ask to kill the queued and running executions of the run; it ends as `cancelled` when they have ended.

    Asking again, or for a run that is completed, changes nothing.
    """

    def ask(connection: Connection) -> RunDetail:
        require_run(connection, run_id, principal)
        change.cancel(connection, run_id, principal.owner)
        return answers.run(run_views.run(connection, run_id, principal), services.links)

    return services.database.transact(ask)


@router.post(
    "/runs/{run_id}/rerun",
    status_code=202,
    response_model=RunDetail,
    responses=problems(404, 409, body=True),
    summary="Repeat a run",
)
def rerun_run(
    run_id: RunId, services: ServicesDep, principal: Writer, creating: Creating, body: RerunIn | None = None
) -> JSONResponse:
    """Queue a run again as a new run with the same title, labels and metadata; its `rerun_of` is this run's id.

    A job that is repeated from its start gets a new workspace of the same task. It takes the values that this run was
    completed with, also those of a job file, and starts from the branches as they are now.
    """
    body = body or RerunIn()

    def create(connection: Connection) -> RunDetail:
        require_run(connection, run_id, principal)
        new = rerun(connection, run_id, body.source, principal, services.settings)
        return answers.run(run_views.run(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)


@router.post(
    "/workspaces/{workspace_id}/executions",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Run a further step in a workspace",
)
def create_execution(
    workspace_id: WorkspaceId, body: StepIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue a script, an agent or a dev server. The steps of one workspace run one after another.

    A `coding_agent` starts a new conversation in a new session; to continue a conversation, post a follow-up.
    """
    return creating.answer(principal, body, 202, _adding(workspace_id, body, services, principal))


@router.post(
    "/workspaces/{workspace_id}/dev-server",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Start a dev server",
)
def start_dev_server(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Writer,
    creating: Creating,
    body: DevServerIn | None = None,
) -> JSONResponse:
    """Queue the start of a repository's dev server. Once the server answers, `dev_server.url` is its address."""
    body = body or DevServerIn()
    step = StepIn(run_reason="dev_server", repo=body.repo, script=body.script)
    return creating.answer(principal, body, 202, _adding(workspace_id, step, services, principal))


def _adding(
    workspace_id: UUID, body: StepIn, services: Services, principal: Principal
) -> Callable[[Connection], ExecutionDetail]:
    def create(connection: Connection) -> ExecutionDetail:
        new = add_step(connection, workspace_id, inputs.step(body), principal, services.profiles)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return create
