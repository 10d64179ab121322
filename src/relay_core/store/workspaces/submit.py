"""Submission of a run: inserts project, repos, task, workspace, session and first execution in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.agents import profiles as agent_profiles
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.chain import RepoScripts, plan_run
from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.git.branch_name import branch_name, repo_name_from_url, unique_names
from relay_core.domain.images import check_allowed, check_registry, resolve_image
from relay_core.domain.job_file import ServerRules
from relay_core.domain.job_settings import (
    AGENT_WORKING_DIR,
    DEFAULT,
    DEFAULT_EXECUTOR,
    PROFILE,
    PROJECT,
    REQUEST,
    JobTerms,
)
from relay_core.domain.limits import Limits
from relay_core.domain.operations import OperationKind
from relay_core.domain.run import title_of
from relay_core.domain.vocabulary import Priority, RunKind, RunReason
from relay_core.domain.working_dir import check_agent_dir
from relay_core.settings import Settings
from relay_core.store import events, operations
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.nodes import placement
from relay_core.store.projects import projects, repos, secrets, task_changes
from relay_core.store.projects.task_changes import HeldTask, NewTask
from relay_core.store.runs.create import NewRun, create_run
from relay_core.store.schema.tables import Lane, Project, Session, Workspace, WorkspaceEnvironment, WorkspaceRepo
from relay_core.store.shared import images, tags
from relay_core.store.tokens import Principal
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces.fork import Fork
from relay_core.store.workspaces.masked_environment import masked_env
from relay_core.store.workspaces.repo_input import RepoInput, with_defaults

__all__ = ["EnvValue", "RepoInput", "RunInput", "SubmittedRun", "start_run", "submit_run"]


@dataclass(frozen=True)
class EnvValue:
    """The value of an environment variable; if it is secret, logs mask it."""

    value: str
    secret: bool = True


E = TypeVar("E", ExecutorChoice, Mapping[str, Any])


@dataclass(frozen=True)
class RunInput(Generic[E]):
    """A run as `POST /v1/runs` asks for it, validated."""

    repos: Sequence[RepoInput]
    prompt: str
    executor: E
    """The executor, complete (`ExecutorChoice`) or as the fields of the request.

    `start_run` completes the fields from a profile.
    """
    limits: Limits
    image: str | None = None
    env: Mapping[str, EnvValue] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Names of secrets of the project, by name of the environment variable that gets the value."""
    secrets_in: Sequence[RunReason] = (RunReason.CODING_AGENT,)
    """Run reasons of the executions that get the secrets; others do not see them."""
    project_id: UUID | None = None
    title: str | None = None
    user: int | None = None
    """User id of the workspace's processes; None: the user of the image, or the node's default."""
    auto_commit: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    needs: Collection[str] = ()
    """Capabilities that the node of the workspace has to declare."""
    named_limits: Collection[str] = ()
    """Names of the limits that the request gives; a job file may give the others."""
    job_file: bool = True
    """Whether job files of the repositories are read."""
    maxima: Mapping[str, float] = field(default_factory=dict)
    """Largest values by name of the limit that a job file may ask for."""
    image_ids: Sequence[UUID] = ()
    """Uploaded images that become those of the new task."""
    profile: str | None = None
    """Name of the session profile of the request."""
    from_profile: Collection[str] = ()
    """`image` and `executor`, where the session profile gave them."""
    job_terms: JobTerms | None = None
    """The settings that the run leaves to job files; `start_run` fills it in. None: nothing."""
    agent_working_dir: str | None = None
    """Directory of the agent, relative to that of the clones (`domain.working_dir`); None: the project's, else the
    working directory of the only repo, else that of the clones.
    """
    task: HeldTask | NewTask | None = None
    """The task that the run is an attempt at, or a new one; None: a new one with title and prompt of the run."""
    fork: Fork | None = None
    """The workspace from whose recorded states the new one starts, as `repos` say; None: it starts from the remotes."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where values came from (`domain.job_settings`); `start_run` fills it in."""


@dataclass(frozen=True)
class SubmittedRun:
    """Ids of the rows that make up a new run."""

    project_id: UUID
    task_id: UUID
    workspace_id: UUID
    session_id: UUID
    run_id: UUID
    execution_id: UUID
    """The first execution of the run, its clone."""
    masked_env: Sequence[str]
    """Names of the environment variables whose values are masked in logs."""


def start_run(
    connection: Connection,
    run: RunInput[Mapping[str, Any]],
    principal: Principal,
    settings: Settings,
    deployment: Profiles,
) -> SubmittedRun:
    """Submit a run, after completing its executor from profiles and its repos from the project and their defaults.

    Args:
        connection: one transaction of `Database`; the message of the first execution is sent after its commit.
        run: its executor holds the fields of the request; what a repo leaves open comes from project and repo.
        principal: owner of the new rows.
        settings: settings of the server.
        deployment: agent profiles of the server; those of the project take precedence.

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
        InvalidInput: `limits.cpus` is above every node's, the executor or its variant is unknown, the image is not
            allowed, a repo is named twice, or a secret is unknown or too large.
    """
    project_id = run.project_id
    if project_id is None:
        project_id = projects.implicit_project(connection, run.repos[0].url, principal)
    else:
        projects.get(connection, project_id, principal)
    if "cpus" in run.named_limits:
        placement.check_cpus(connection, settings.pool, run.limits.cpus)
    layers = projects.profiles_over(connection, deployment, project_id)
    executor = agent_profiles.choose(layers, {"name": DEFAULT_EXECUTOR, **run.executor})
    repos, sources_of_repos = with_defaults(connection, run.repos, project_id, principal.owner)
    rules = ServerRules(run.maxima, settings.allowed_images)
    changes = {
        "executor": executor,
        "repos": repos,
        "job_terms": JobTerms(rules, run.executor, layers, run.job_file),
        "sources": _sources(run) | sources_of_repos,
    }
    filled: RunInput[ExecutorChoice] = RunInput(**{**vars(run), **changes})
    return submit_run(connection, filled, principal, settings)


def submit_run(
    connection: Connection, run: RunInput[ExecutorChoice], principal: Principal, settings: Settings
) -> SubmittedRun:
    """Insert the rows of a run: project, repos, task, workspace, session and first execution (`clone`), queued.

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
        InvalidInput: the image is not allowed, a repo is named twice, or a secret is unknown or too large.
    """
    project = _project(connection, run, principal)
    image = resolve_image(run.image, project.default_image, settings.default_image)
    check_allowed(image, settings.allowed_images)
    check_registry(image, settings.remote_policy, settings.trusted_images)
    title = run.title or (run.task.title if run.task else title_of(run.prompt))
    names = unique_names([repo_name_from_url(repo.url) for repo in run.repos])
    task = run.task or NewTask(title, run.prompt)
    task_id = task.id if isinstance(task, HeldTask) else task_changes.add(connection, project.id, task, principal)
    images.link(connection, task_id, run.image_ids, principal, "image_ids")
    source = (
        PROFILE
        if "image" in run.from_profile
        else REQUEST
        if run.image
        else PROJECT
        if project.default_image
        else DEFAULT
    )
    columns = {"task_id": task_id, "name": title, "resolved_image": image, "created_by": principal.owner}
    working_dir, source_of_dir = _agent_dir(run, project.default_agent_working_dir, names)
    columns["sources"] = {"image": source, **source_of_dir, **run.sources}
    columns["agent_working_dir"] = working_dir
    if run.fork is not None:
        columns |= {"forked_from": run.fork.workspace_id, "node_id": run.fork.node_id, "pool": run.fork.pool}
    workspace_id = _workspace(connection, run, settings, columns)
    _use_secrets(connection, run, workspace_id, project.id)
    repo_ids = repos.ensure(connection, [repo.url for repo in run.repos], principal.owner)
    repos.link(connection, project.id, list(repo_ids.values()))
    scripts = _link_repos(connection, run, workspace_id, repo_ids, names)
    if run.fork is not None:
        told = run.fork.told(repo_ids.keys())
        events.append(connection, workspace_id, EventKind.WORKSPACE_FORKED, told)
    session_id = uuid4()
    executor = run.executor.as_json() if run.executor.name else None
    session = {"workspace_id": workspace_id, "executor": run.executor.name or None, "executor_config": executor}
    session["profile"] = run.profile
    connection.execute(insert(Session), {"id": session_id, **session})
    action = plan_run(scripts, run.executor, tags.expand(connection, run.prompt, principal.owner), working_dir)
    run_id = create_run(
        connection,
        NewRun(
            workspace_id,
            session_id,
            RunKind.JOB,
            title,
            principal.owner,
            run.labels,
            run.metadata,
            priority=run.priority,
        ),
    )
    ids = create_group(connection, NewGroup(session_id, workspace_id, [action], principal.owner, run_id))
    send_after_commit(connection, ids)
    masked = masked_env(connection, [workspace_id]).get(workspace_id, []) if run.env else []
    return SubmittedRun(project.id, task_id, workspace_id, session_id, run_id, ids[0], masked)


def _sources(run: RunInput[Mapping[str, Any]]) -> dict[str, str]:
    """Return which values of a run come from its request."""
    sources = {f"limits.{name}": REQUEST for name in run.named_limits}
    given = PROFILE if "executor" in run.from_profile else REQUEST
    sources["executor"] = given if run.executor.get("name") else DEFAULT
    return sources


def _agent_dir(run: RunInput[E], of_project: str | None, names: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Return the working directory of the agent as it is known before job files are read, and its source, if any."""
    layers = ((REQUEST, run.agent_working_dir, AGENT_WORKING_DIR), (PROJECT, of_project, "project_id"))
    for source, path, field_of_request in layers:
        if path is not None:
            check_agent_dir(path, names, field_of_request)
            return path, {AGENT_WORKING_DIR: source}
    first, *others = run.repos
    return None if others else "/".join(part for part in (names[0], first.working_dir) if part), {}


_SHARED = (
    select(Project.id, Project.default_image, Project.default_agent_working_dir)
    .where(Project.created_by == bindparam("owner"), Project.implicit_key == bindparam("url"))
    .where(Project.deleted_at.is_(None))
    .with_for_update(read=True)
)
"""Locks a project as `_project` says, shared with other submissions."""


def _project(connection: Connection, run: RunInput[E], principal: Principal) -> Any:
    columns = (Project.id, Project.default_image, Project.default_agent_working_dir)
    if run.project_id is not None:
        # The lock keeps a deletion of the project out, which would not see the new workspace.
        statement = select(*columns).where(Project.id == run.project_id, Project.deleted_at.is_(None))
        statement = statement.with_for_update(read=True)
        if principal.only is not None:
            statement = statement.where(Project.created_by == principal.only)
        found = connection.execute(statement).one_or_none()
        if found is None:
            raise NotFound(f"there is no project {run.project_id}")
        return found
    key = run.repos[0].url
    name = repo_name_from_url(key)
    mine = {"owner": principal.owner, "url": key}
    while (found := connection.execute(_SHARED, mine).one_or_none()) is None:
        # The loop ends: this request or another one inserts the project, and only a deletion can remove it again.
        values = {"id": uuid4(), "name": name, "implicit_key": key, "created_by": principal.owner}
        made = upsert(Project).values(**values).on_conflict_do_nothing()
        if (project_id := connection.scalar(made.returning(Project.id))) is not None:
            projects.note_created(connection, project_id, name, principal)
        name = f"{repo_name_from_url(key)}-{uuid4().hex[:8]}"  # needed if another project has the name
    return found


def _workspace(connection: Connection, run: RunInput[E], settings: Settings, columns: Mapping[str, Any]) -> UUID:
    workspace_id = uuid4()
    title = columns["name"]
    values = {
        "id": workspace_id,
        "branch": branch_name(settings.branch_prefix, workspace_id, title),
        "pool": settings.pool,
        "requested_image": run.image,
        "requested_uid": run.user,
        "auto_commit": run.auto_commit,
        "secrets_in": list(run.secrets_in),
        "needs": sorted(set(run.needs)),
        "limits": vars(run.limits),
        "job_terms": run.job_terms and run.job_terms.as_json(),
    }
    connection.execute(insert(Workspace), {**values, **columns})
    connection.execute(insert(Lane), {"workspace_id": workspace_id})
    environment = [
        {"workspace_id": workspace_id, "name": name, "value": given.value, "secret": given.secret}
        for name, given in run.env.items()
    ]
    if environment:
        connection.execute(insert(WorkspaceEnvironment), environment)
    payload = {"image": columns["resolved_image"], "title": title}
    subject = operations.of_workspace(workspace_id)
    operations.record(connection, OperationKind.WORKSPACE_CREATE, subject, EventKind.WORKSPACE_CREATED, payload)
    return workspace_id


def _use_secrets(connection: Connection, run: RunInput[E], workspace_id: UUID, project_id: UUID) -> None:
    how = f"--project {run.project_id}" if run.project_id else f"--repo {run.repos[0].url}"
    size = secrets.use(connection, workspace_id, project_id, run.secrets, how)
    size += sum(len(given.value.encode()) for given in run.env.values() if given.secret)
    if size > secrets.MAX_MASKED_BYTES:
        raise InvalidInput(
            f"the secret values of a run may have {secrets.MAX_MASKED_BYTES} bytes altogether, these have {size}; "
            'give a value that is no secret as {"value": …, "secret": false}',
            code="secrets_too_large",
            field="env",
        )


def _start(repo: RepoInput) -> dict[str, str | None]:
    start = repo.start
    if start is None:
        return dict.fromkeys(("start_commit", "start_base_commit", "start_store"))
    return {"start_commit": start.commit, "start_base_commit": start.base_commit, "start_store": start.name}


def _link_repos(
    connection: Connection,
    run: RunInput[E],
    workspace_id: UUID,
    repo_ids: Mapping[str, UUID],
    names: Sequence[str],
) -> list[RepoScripts]:
    rows: list[dict[str, Any]] = []
    scripts = []
    for position, (repo, name) in enumerate(zip(run.repos, names, strict=True)):
        repo_id = repo_ids[repo.url]
        if any(row["repo_id"] == repo_id for row in rows):
            raise InvalidInput("the same repository is named twice", field=f"repos.{position}.url")
        given = {key: value for key, value in vars(repo).items() if key not in {"url", "start"}}
        given["parallel_setup_script"] = bool(repo.parallel_setup_script)
        given["working_dir"] = repo.working_dir or None
        place = {"workspace_id": workspace_id, "repo_id": repo_id, "position": position}
        rows.append({**place, "name": name, "url": repo.url, **given, **_start(repo)})
        del given["target_branch"], given["ref"], given["copy_files"]
        scripts.append(RepoScripts(name=name, dev_server=given.pop("dev_server_script"), **given))
    connection.execute(insert(WorkspaceRepo), rows)
    return scripts
