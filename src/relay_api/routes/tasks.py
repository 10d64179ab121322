"""Routes of tasks and of the attempts at them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfParent, OfProject, TaskId, TaskItself
from relay_api.schemas import answers, inputs
from relay_api.schemas.runs import RunOut
from relay_api.schemas.tasks import AttemptIn, AttemptList, TaskChange, TaskCreated, TaskIn
from relay_api.schemas.workspaces import Deleted, TaskOut, TaskPage
from relay_api.services import Services
from relay_core.domain.errors import InvalidInput
from relay_core.domain.task import check_by_hand
from relay_core.domain.vocabulary import TaskStatus
from relay_core.store.database import Connection
from relay_core.store.projects import repos, task_changes, tasks
from relay_core.store.projects.repos import ProjectRepos
from relay_core.store.projects.task_changes import HeldTask, NewTask
from relay_core.store.shared import images
from relay_core.store.tokens import Principal
from relay_core.store.views import attempt_views
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.workspaces import fork
from relay_core.store.workspaces.fork import Fork, ForkRequest
from relay_core.store.workspaces.submit import start_run

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


@router.post(
    "",
    status_code=201,
    response_model=TaskCreated,
    responses={
        202: {"model": TaskCreated, "description": "Created with `start`: its first attempt is queued."},
        **problems(404, 409, body=True),
    },
    summary="Create a task, and start an attempt at it if asked to",
)
def create_task(body: TaskIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Create a task of a project. With `start` the answer is 202 and `started` has the ids of its first attempt.

    If the attempt cannot start, nothing is created and the answer says why. The agents of all attempts get the images.
    """

    def create(connection: Connection) -> TaskCreated:
        project_id = resolve(connection, Kind.PROJECT, body.project_id, principal, field="project_id")
        parent = _parent(connection, body.parent_workspace_id, principal)
        new = NewTask(body.title, body.description, parent)
        if body.start is None:
            task_id, started = task_changes.create(connection, project_id, new, principal), None
            images.link(connection, task_id, body.image_ids, principal, "image_ids")
        else:
            attempt = body.start.model_copy(update={"image_ids": [*body.image_ids, *body.start.image_ids]})
            started = _start(connection, attempt, project_id, new, services, principal)
            task_id = started.task_id
        shown = answers.task(tasks.task(connection, task_id, principal), services.links)
        return TaskCreated(**shown.model_dump(), started=started)

    return creating.answer(principal, body, 202 if body.start else 201, create)


@router.get("", responses=problems(404), summary="List tasks, newest first")
def list_tasks(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    project_id: OfProject,
    parent_workspace_id: OfParent,
    status: Annotated[TaskStatus | None, Query()] = None,
) -> TaskPage:
    """List the tasks that are not deleted, nor their projects."""
    with services.database.connect() as connection:
        found = tasks.listed(
            connection,
            principal,
            page,
            status=status,
            project_id=project_id,
            parent_workspace_id=parent_workspace_id,
        )
    return answers.task_page(found, services.links)


@router.get("/{task_id}", responses=problems(404), summary="Get a task")
def get_task(task_id: TaskId, services: ServicesDep, principal: Reader) -> TaskOut:
    """Return one task. Its status follows from its runs, until a person closes it."""
    with services.database.connect() as connection:
        return answers.task(tasks.task(connection, task_id, principal), services.links)


@router.patch("/{task_id}", responses=problems(404, body=True), summary="Change a task")
def change_task(task_id: TaskItself, body: TaskChange, services: ServicesDep, principal: Writer) -> TaskOut:
    """Apply a merge patch (RFC 7396). A person sets the status to `todo`, `done` or `cancelled` only.

    No step moves a task away from `done` or `cancelled`; set it back to `todo` to go on with it.
    """
    if body.status is not None:
        check_by_hand(body.status)

    def apply(connection: Connection) -> TaskOut:
        patch = body.model_dump(exclude_unset=True)
        if "parent_workspace_id" in patch:
            patch["parent_workspace_id"] = _parent(connection, body.parent_workspace_id, principal)
        task_changes.change(connection, task_id, patch, principal)
        return answers.task(tasks.task(connection, task_id, principal), services.links)

    return services.database.transact(apply)


@router.delete("/{task_id}", status_code=202, responses=problems(404), summary="Delete a task")
def delete_task(task_id: TaskItself, services: ServicesDep, principal: Writer) -> Deleted:
    """Hide the task and its workspaces and kill their executions. Nodes then remove the containers and files.

    Its subtasks stay. Its runs, logs and events can still be read by their ids.
    """
    return Deleted(id=task_id, killed=task_changes.delete(services.database, task_id, principal))


@router.get("/{task_id}/attempts", responses=problems(404), summary="Compare the attempts at a task")
def list_attempts(task_id: TaskId, services: ServicesDep, principal: Reader) -> AttemptList:
    """Return the workspaces of a task side by side: how their runs ended, what they took and what they changed.

    The last 100 workspaces are shown, in the order of their creation.
    """
    with services.database.connect() as connection:
        tasks.task(connection, task_id, principal)
        found = attempt_views.attempts(connection, task_id)
    return AttemptList(items=[answers.attempt(view, services.links) for view in found])


@router.post(
    "/{task_id}/workspaces",
    status_code=202,
    response_model=RunOut,
    responses=problems(404, 409, body=True),
    summary="Start an attempt at a task",
)
def create_attempt(
    task_id: TaskItself, body: AttemptIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Make a further workspace of the task, with a branch of its own, and queue a whole run in it.

    A task that is `done` or `cancelled` takes none: 409 `task_closed`. With `from_workspace`: 409 `no_after_state`,
    `workspace_gone`, `node_draining`, `node_revoked`, `node_detached` or `version.floor_exceeded`, if there is nothing
    recorded to start from, or its node takes no new workspace.
    """

    def create(connection: Connection) -> RunOut:
        held = task_changes.hold_open(connection, task_id, principal)
        return _start(connection, body, held.project_id, held, services, principal)

    return creating.answer(principal, body, 202, create)


def _start(
    connection: Connection,
    body: AttemptIn,
    project_id: UUID,
    task: HeldTask | NewTask,
    services: Services,
    principal: Principal,
) -> RunOut:
    there = repos.of_project(connection, project_id)
    source = _source(connection, body, task, there, principal)
    wanted = inputs.attempt(body, task, there, services.settings, services.secrets, source)
    wanted = inputs.run_of_profile(wanted, body.profile, services.session_profiles)
    new = start_run(connection, wanted, principal, services.settings, services.profiles)
    links = services.links.new_run(new.run_id, new.workspace_id, new.execution_id, new.task_id)
    return RunOut(**vars(new), links=links)


def _source(
    connection: Connection, body: AttemptIn, task: HeldTask | NewTask, there: ProjectRepos, principal: Principal
) -> Fork | None:
    """Return the workspace from whose recorded states an attempt starts; None: it starts from the remotes."""
    if body.from_workspace is not None:
        found = resolve(connection, Kind.WORKSPACE, body.from_workspace, principal, field=fork.FIELD)
        wanted = ForkRequest(found, _after(connection, body.from_execution, principal))
        return fork.find(connection, wanted, there.project_id, body.needs, principal)
    if body.from_execution is not None:
        raise InvalidInput("name its workspace in from_workspace, too", field="from_execution")
    named = body.repos or ()
    if task.parent_workspace_id is None or fork.FIELD in body.model_fields_set or any(repo.ref for repo in named):
        return None
    urls = [there.named(repo.repo, f"repos.{n}.repo").url for n, repo in enumerate(named)]
    return fork.of_parent(connection, task.parent_workspace_id, there.project_id, urls, body.needs, principal)


def _after(connection: Connection, text: str | None, principal: Principal) -> UUID | None:
    field = "from_execution"
    return None if text is None else resolve(connection, Kind.EXECUTION, text, principal, aim=None, field=field)


def _parent(connection: Connection, text: str | None, principal: Principal) -> UUID | None:
    field = "parent_workspace_id"
    return None if text is None else resolve(connection, Kind.WORKSPACE, text, principal, field=field)
