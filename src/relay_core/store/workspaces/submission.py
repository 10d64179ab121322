"""Submitting work: a whole run, or one more step in a workspace. One transaction each; rings are due after commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action, RepoScripts, plan_run
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.git.branch_name import branch_name, repo_name_from_url, unique_names
from relay_core.domain.images import check_allowed, check_registry, resolve_image
from relay_core.domain.limits import Limits
from relay_core.domain.message import QueueMessage
from relay_core.domain.step import DevServerStep
from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.settings import Settings
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.projects import repos, secrets
from relay_core.store.schema.tables import Lane, Project, Session, Task, Workspace, WorkspaceEnvironment, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.views import api_views


@dataclass(frozen=True)
class RepoInput:
    """A repo of a run, its URL already parsed, checked and free of credentials."""

    url: str
    target_branch: str | None = None
    working_dir: str | None = None
    setup_script: str | None = None
    cleanup_script: str | None = None
    dev_server_script: str | None = None
    archive_script: str | None = None
    parallel_setup_script: bool = False
    setup_as_root: bool = False


@dataclass(frozen=True)
class EnvValue:
    """An environment value; a secret one is masked in logs."""

    value: str
    secret: bool = True


@dataclass(frozen=True)
class RunInput:
    """What `POST /v1/runs` asks for, validated."""

    repos: Sequence[RepoInput]
    prompt: str
    executor: ExecutorChoice
    limits: Limits
    image: str | None = None
    env: Mapping[str, EnvValue] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Names of secrets of the project, by the names of environment variables."""
    secrets_in: Sequence[RunReason] = (RunReason.CODING_AGENT,)
    """Which executions get them."""
    project_id: UUID | None = None
    title: str | None = None
    user: int | None = None
    """Uid of the workspace's processes; None: the image's, or the node's default."""
    auto_commit: bool = True


@dataclass(frozen=True)
class Submitted:
    """The rows of a new run, and the doorbells due after commit."""

    project_id: UUID
    task_id: UUID
    workspace_id: UUID
    session_id: UUID
    execution_id: UUID
    messages: Sequence[QueueMessage]


def submit_run(connection: Connection, run: RunInput, principal: Principal, settings: Settings) -> Submitted:
    """Project, repos, task, workspace, session and the first execution (`clone`), all queued to start.

    Raises:
        NotFound: the project is not there for this principal.
        InvalidInput: the image is not allowed, or a name cannot be made.
    """
    project = _project(connection, run, principal)
    image = resolve_image(run.image, project.default_image, settings.default_image)
    check_allowed(image, settings.allowed_images)
    check_registry(image, settings.remote_policy, settings.trusted_images)
    title = run.title or _title(run.prompt)
    names = unique_names([repo_name_from_url(repo.url) for repo in run.repos])
    task_id = uuid4()
    connection.execute(
        insert(Task).values(
            id=task_id, project_id=project.id, title=title, description=run.prompt, created_by=principal.owner
        )
    )
    columns = {"task_id": task_id, "name": title, "resolved_image": image, "created_by": principal.owner}
    workspace_id = _workspace(connection, run, settings, columns)
    _use_secrets(connection, run, workspace_id, project.id)
    repo_ids = repos.ensure(connection, [repo.url for repo in run.repos], principal.owner)
    repos.link(connection, project.id, list(repo_ids.values()))
    scripts = [
        _link_repo(connection, (workspace_id, position), repo, repo_ids[repo.url], name)
        for position, (repo, name) in enumerate(zip(run.repos, names, strict=True))
    ]
    session_id = uuid4()
    connection.execute(
        insert(Session).values(
            id=session_id,
            workspace_id=workspace_id,
            executor=run.executor.name,
            executor_config=run.executor.as_json(),
        )
    )
    action = plan_run(scripts, run.executor, run.prompt)
    ids = transitions.create_group(
        connection, transitions.NewGroup(session_id, workspace_id, [action], principal.owner)
    )
    return Submitted(project.id, task_id, workspace_id, session_id, ids[0], transitions.messages(connection, ids))


@dataclass(frozen=True)
class AddedStep:
    """One more execution in a workspace."""

    execution_id: UUID
    messages: Sequence[QueueMessage]


def add_step(
    connection: Connection, workspace_id: UUID, action: Action, principal: Principal, *, session_id: UUID | None = None
) -> AddedStep:
    """Queue a step behind what the workspace's lane already holds (a dev server waits for nobody).

    Without `session_id` it belongs to the latest session.

    Raises:
        NotFound: the workspace is not there for this principal.
        Conflict: it is archived, deleted or could not be prepared; or stopped, for a dev server (else the step waits).
    """
    columns = (Workspace.state, Workspace.requested_state, Workspace.archived, Workspace.error_reason)
    statement = select(*columns).where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
    if principal.only is not None:
        statement = statement.where(Workspace.created_by == principal.only)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    if row.state == WorkspaceState.FAILED:
        raise Conflict(f"the workspace could not be prepared: {row.error_reason}", code="workspace_failed")
    if row.archived and action.step.run_reason is not RunReason.ARCHIVE_SCRIPT:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
    stopped = row.requested_state is not None or row.state == WorkspaceState.STOPPED
    if stopped and isinstance(action.step, DevServerStep):
        raise Conflict("the workspace is stopped; resume it, then start the dev server", code="workspace_stopped")
    if row.state == WorkspaceState.STARTING and isinstance(action.step, DevServerStep):
        raise Conflict("the workspace is still being prepared; start the dev server when its state is running")
    if session_id is None:
        newest = select(Session.id).where(Session.workspace_id == workspace_id)
        session_id = connection.execute(newest.order_by(Session.created_at.desc()).limit(1)).scalar_one()
    group = transitions.NewGroup(session_id, workspace_id, [action], principal.owner)
    ids = transitions.create_group(connection, group)
    ready = row.state == WorkspaceState.RUNNING and not stopped
    due = transitions.messages(connection, ids) if ready else []
    return AddedStep(ids[0], due)


def refuse_second_server(connection: Connection, workspace_id: UUID, step: DevServerStep) -> None:
    """A repo of a workspace has one dev server at a time; one that was asked to end does not count.

    Raises:
        Conflict: `dev_server_running`.
    """
    for live in api_views.dev_servers(connection, [workspace_id]):
        repo = action_from_json(live["executor_action"]).step.repo
        if repo == step.repo and live["kill_requested_at"] is None:
            message = f"the dev server of {step.repo!r} is already {live['status']}: execution {live['id']}"
            raise Conflict(message, code="dev_server_running")


def repo_scripts(connection: Connection, workspace_id: UUID) -> list[RepoScripts]:
    """The repos of a workspace with their scripts, in the order of the request."""
    statement = select(WorkspaceRepo).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)
    return [
        RepoScripts(
            name=row["name"],
            working_dir=row["working_dir"],
            setup_script=row["setup_script"],
            cleanup_script=row["cleanup_script"],
            dev_server=row["dev_server_script"],
            archive_script=row["archive_script"],
            parallel_setup_script=row["parallel_setup_script"],
            setup_as_root=row["setup_as_root"],
        )
        for row in connection.execute(statement).mappings()
    ]


def _project(connection: Connection, run: RunInput, principal: Principal) -> Any:
    columns = (Project.id, Project.default_image)
    if run.project_id is not None:
        # Locked, so that a project deleted meanwhile gets no workspace that its deletion does not see.
        statement = select(*columns).where(Project.id == run.project_id, Project.deleted_at.is_(None))
        statement = statement.with_for_update(read=True)
        if principal.only is not None:
            statement = statement.where(Project.created_by == principal.only)
        found = connection.execute(statement).one_or_none()
        if found is None:
            raise NotFound(f"there is no project {run.project_id}")
        return found
    key = run.repos[0].url
    values = {"name": repo_name_from_url(key), "implicit_key": key, "created_by": principal.owner}
    mine = [Project.created_by == principal.owner, Project.implicit_key == key, Project.deleted_at.is_(None)]
    shared = select(*columns).where(*mine).with_for_update(read=True)  # as above; others may share it meanwhile
    while (found := connection.execute(shared).one_or_none()) is None:
        # The loop ends: either this makes it, or somebody else has, and only a deletion takes it away again.
        connection.execute(upsert(Project).values(id=uuid4(), **values).on_conflict_do_nothing())
    return found


def _workspace(connection: Connection, run: RunInput, settings: Settings, columns: Mapping[str, Any]) -> UUID:
    workspace_id = uuid4()
    title = columns["name"]
    connection.execute(
        insert(Workspace).values(
            id=workspace_id,
            branch=branch_name(settings.branch_prefix, workspace_id, title),
            pool=settings.pool,
            requested_image=run.image,
            requested_uid=run.user,
            auto_commit=run.auto_commit,
            secrets_in=list(run.secrets_in),
            limits=vars(run.limits),
            **columns,
        )
    )
    connection.execute(insert(Lane).values(workspace_id=workspace_id))
    for name, given in run.env.items():
        connection.execute(
            insert(WorkspaceEnvironment).values(
                workspace_id=workspace_id, name=name, value=given.value, secret=given.secret
            )
        )
    events.append(
        connection, workspace_id, EventKind.WORKSPACE_CREATED, {"image": columns["resolved_image"], "title": title}
    )
    return workspace_id


def _use_secrets(connection: Connection, run: RunInput, workspace_id: UUID, project_id: UUID) -> None:
    how = f"--project {run.project_id}" if run.project_id else f"--repo {run.repos[0].url}"
    size = secrets.use(connection, workspace_id, project_id, run.secrets, how)
    size += sum(len(given.value.encode()) for given in run.env.values() if given.secret)
    if size > secrets.MAX_MASKED_BYTES:
        raise InvalidInput(
            f"the secret values of a run may have {secrets.MAX_MASKED_BYTES} bytes altogether, these have {size}; "
            'give what is none as {"value": …, "secret": false}',
            code="secrets_too_large",
            field="env",
        )


def _link_repo(
    connection: Connection, place: tuple[UUID, int], repo: RepoInput, repo_id: UUID, name: str
) -> RepoScripts:
    workspace_id, position = place
    given = {key: value for key, value in vars(repo).items() if key != "url"}
    try:
        with connection.begin_nested():
            connection.execute(
                insert(WorkspaceRepo).values(
                    workspace_id=workspace_id, repo_id=repo_id, position=position, name=name, url=repo.url, **given
                )
            )
    except IntegrityError as error:
        raise InvalidInput("the same repository is named twice", field=f"repos.{position}.url") from error
    given.pop("target_branch")
    return RepoScripts(name=name, dev_server=given.pop("dev_server_script"), **given)


def _title(prompt: str) -> str:
    first = next((line.strip() for line in prompt.splitlines() if line.strip()), "untitled")
    return first if len(first) <= 80 else first[:79] + "…"
