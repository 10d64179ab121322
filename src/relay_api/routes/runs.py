"""Submitting work."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Made, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.routes.agents import profiles_in
from relay_api.schemas import answers, inputs, steps
from relay_api.schemas.executions import ExecutionDetail
from relay_api.schemas.runs import DevServerIn, RunIn, RunOut, StepIn
from relay_api.services import Services
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.chain import Action
from relay_core.domain.step import AgentStep, DevServerStep
from relay_core.store.projects import catalog
from relay_core.store.tokens import Principal
from relay_core.store.views import api_views as read
from relay_core.store.workspaces import lane, sessions, submission

router = APIRouter(prefix="/v1", tags=["runs"])


@router.post(
    "/runs",
    status_code=202,
    response_model=RunOut,
    responses=problems(404, 409, body=True),
    summary="Run a job: clone, setup scripts, agent, cleanup scripts",
)
def create_run(body: RunIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Queue a whole run in a new workspace; answers at once.

    Follow it with `links.executions` (one execution per step, each made when the one before has succeeded) or
    `links.events`.
    """

    def make(connection: Connection) -> Made:
        def profiles_of(project_id: UUID | None, url: str) -> Profiles:
            if project_id is None:
                project_id = catalog.implicit_project(connection, url, principal)
            else:
                catalog.get(connection, project_id, principal)  # one that is not theirs is not there
            return profiles_in(services, connection, project_id)

        wanted = inputs.run(body, services.settings, profiles_of)
        if wanted.secrets:
            services.secrets.check()
        filled = inputs.with_project_scripts(connection, wanted)
        made = submission.submit_run(connection, filled, principal, services.settings)
        ids = {name: value for name, value in vars(made).items() if name != "messages"}
        links = services.links.run(made.workspace_id, made.execution_id, made.task_id)
        masked = read.masked_env(connection, [made.workspace_id]).get(made.workspace_id, [])
        return Made(RunOut(**ids, masked_env=masked, links=links), lambda: services.dispatcher.dispatch(made.messages))

    return creating.answer(principal, body, 202, make)


@router.post(
    "/workspaces/{workspace_id}/executions",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Run a further step in a workspace",
)
def create_execution(
    workspace_id: UUID, body: StepIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue a script, an agent or a dev server; steps of one workspace run one after another.

    A coding_agent begins a conversation of its own in a new session; to go on with one, post a follow-up.
    """

    def make(connection: Connection) -> Made:
        return _add(connection, workspace_id, body, services, principal)

    return creating.answer(principal, body, 202, make)


@router.post(
    "/workspaces/{workspace_id}/dev-server",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Start a dev server",
)
def start_dev_server(
    workspace_id: UUID, services: ServicesDep, principal: Writer, creating: Creating, body: DevServerIn | None = None
) -> JSONResponse:
    """Start a repository's dev server; `dev_server.url` says where it answers once it does."""
    body = body or DevServerIn()
    step = StepIn(run_reason="dev_server", repo=body.repo, script=body.script)

    def make(connection: Connection) -> Made:
        return _add(connection, workspace_id, step, services, principal)

    return creating.answer(principal, body, 202, make)


def _add(connection: Connection, workspace_id: UUID, body: StepIn, services: Services, principal: Principal) -> Made:
    read.require_workspace(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    if body.executor:
        found = profiles_in(services, connection, catalog.of_workspace(connection, workspace_id))
        executor = inputs.executor(body.executor, found)
    else:
        executor = sessions.latest_executor(connection, workspace_id)
    step = steps.plan(body, submission.repo_scripts(connection, workspace_id), executor)
    if isinstance(step, DevServerStep):
        submission.refuse_second_server(connection, workspace_id, step)
    if isinstance(step, AgentStep):  # to go on with a conversation there are follow-ups
        sessions.open_session(connection, workspace_id, executor)
    added = submission.add_step(connection, workspace_id, Action(step), principal)
    view = read.execution(connection, added.execution_id, principal)
    return Made(answers.execution_detail(view, services.links), lambda: services.dispatcher.dispatch(added.messages))
