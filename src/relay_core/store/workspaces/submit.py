"""Submission of a run: inserts project, repos, task, workspace, session and first execution in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any
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
from relay_core.domain.operations import OperationKind
from relay_core.domain.run import title_of
from relay_core.domain.uploaded_images import check_images
from relay_core.domain.vocabulary import RunKind
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
from relay_core.store.workspaces.masked_environment import masked_env
from relay_core.store.workspaces.repo_input import RepoInput, with_defaults
from relay_core.store.workspaces.run_input import E, EnvValue, RunInput, RunTerms, SubmittedRun

__all__ = ["EnvValue", "RepoInput", "RunInput", "SubmittedRun", "start_run", "submit_run"]


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
            allowed, a repo is named twice, a secret is unknown or too large, or the executor cannot look at images.
    """
    return submit_run(connection, complete_run(connection, run, principal, settings, deployment), principal, settings)


def complete_run(
    connection: Connection,
    run: RunInput[Mapping[str, Any]],
    principal: Principal,
    settings: Settings,
    deployment: Profiles,
) -> RunInput[ExecutorChoice]:
    """Return a run with its executor completed from profiles, and its repos from the project and their defaults.

    Arguments and errors are those of `start_run`.
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
    check_images(executor.name, run.image_ids)
    repos, sources_of_repos = with_defaults(connection, run.repos, project_id, principal.owner)
    rules = ServerRules(run.maxima, settings.allowed_images)
    changes = {
        "executor": executor,
        "repos": repos,
        "job_terms": JobTerms(rules, run.executor, layers, run.job_file),
        "sources": _sources(run) | sources_of_repos,
    }
    filled: RunInput[ExecutorChoice] = RunInput(**{**vars(run), **changes})
    return filled


def submit_run(
    connection: Connection, run: RunInput[ExecutorChoice], principal: Principal, settings: Settings
) -> SubmittedRun:
    """Insert the rows of a run: project, repos, task, workspace, session and first execution (`clone`), queued.

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
        InvalidInput: the image is not allowed, a repo is named twice, or a secret is unknown or too large.
    """
    project = _project(connection, run, principal)
    return insert_run(connection, run, principal, project.id, _terms(run, project, settings))


def terms_of(
    connection: Connection, run: RunInput[ExecutorChoice], principal: Principal, settings: Settings
) -> RunTerms:
    """Return what `submit_run` would take from the project and the settings, with the checks and errors of it."""
    return _terms(run, _project(connection, run, principal), settings)


def _terms(run: RunInput[ExecutorChoice], project: Any, settings: Settings) -> RunTerms:
    image = resolve_image(run.image, project.default_image, settings.default_image)
    check_allowed(image, settings.allowed_images)
    check_registry(image, settings.remote_policy, settings.trusted_images)
    names = unique_names([repo_name_from_url(repo.url) for repo in run.repos])
    source = (
        PROFILE
        if "image" in run.from_profile
        else REQUEST
        if run.image
        else PROJECT
        if project.default_image
        else DEFAULT
    )
    working_dir, source_of_dir = _agent_dir(run, project.default_agent_working_dir, names)
    pool = settings.pool if run.fork is None else run.fork.pool
    return RunTerms(image, source, working_dir, source_of_dir, pool, settings.branch_prefix)


def insert_run(
    connection: Connection, run: RunInput[ExecutorChoice], principal: Principal, project_id: UUID, terms: RunTerms
) -> SubmittedRun:
    """Insert the rows of a run into a project that the caller has locked; errors as for `submit_run`."""
    title = run.title or (run.task.title if run.task else title_of(run.prompt))
    names = unique_names([repo_name_from_url(repo.url) for repo in run.repos])
    task = run.task or NewTask(title, run.prompt)
    task_id = task.id if isinstance(task, HeldTask) else task_changes.add(connection, project_id, task, principal)
    images.link(connection, task_id, run.image_ids, principal, "image_ids")
    columns = {"task_id": task_id, "name": title, "resolved_image": terms.image, "created_by": principal.owner}
    source_of_dir = {} if terms.working_dir_source is None else {AGENT_WORKING_DIR: terms.working_dir_source}
    columns["sources"] = {"image": terms.image_source, **source_of_dir, **run.sources}
    columns["agent_working_dir"] = terms.working_dir
    if run.fork is not None:
        columns |= {"forked_from": run.fork.workspace_id, "node_id": run.fork.node_id}
    workspace_id = _workspace(connection, run, terms, columns)
    _use_secrets(connection, run, workspace_id, project_id)
    repo_ids = repos.ensure(connection, [repo.url for repo in run.repos], principal.owner)
    repos.link(connection, project_id, list(repo_ids.values()))
    scripts = _link_repos(connection, run, workspace_id, repo_ids, names)
    if run.fork is not None:
        told = run.fork.told(repo_ids.keys())
        events.append(connection, workspace_id, EventKind.WORKSPACE_FORKED, told)
    session_id = uuid4()
    executor = run.executor.as_json() if run.executor.name else None
    session = {"workspace_id": workspace_id, "executor": run.executor.name or None, "executor_config": executor}
    session["profile"] = run.profile
    connection.execute(insert(Session), {"id": session_id, **session})
    prompt = tags.expand(connection, run.prompt, principal.owner)
    action = plan_run(scripts, run.executor, prompt, terms.working_dir)
    notes = (run.labels, run.metadata)
    new = NewRun(workspace_id, session_id, RunKind.JOB, title, principal.owner, *notes, priority=run.priority)
    run_id = create_run(connection, new)
    ids = create_group(connection, NewGroup(session_id, workspace_id, [action], principal.owner, run_id))
    send_after_commit(connection, ids)
    masked = masked_env(connection, [workspace_id]).get(workspace_id, []) if run.env else []
    return SubmittedRun(project_id, task_id, workspace_id, session_id, run_id, ids[0], masked)


def _sources(run: RunInput[Mapping[str, Any]]) -> dict[str, str]:
    """Return which values of a run come from its request."""
    sources = {f"limits.{name}": REQUEST for name in run.named_limits}
    given = PROFILE if "executor" in run.from_profile else REQUEST
    sources["executor"] = given if run.executor.get("name") else DEFAULT
    return sources


def _agent_dir(run: RunInput[E], of_project: str | None, names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the working directory of the agent as it is known before job files are read, and its source, if any."""
    layers = ((REQUEST, run.agent_working_dir, AGENT_WORKING_DIR), (PROJECT, of_project, "project_id"))
    for source, path, field_of_request in layers:
        if path is not None:
            check_agent_dir(path, names, field_of_request)
            return path, source
    first, *others = run.repos
    return None if others else "/".join(part for part in (names[0], first.working_dir) if part), None


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


def _workspace(connection: Connection, run: RunInput[E], terms: RunTerms, columns: Mapping[str, Any]) -> UUID:
    workspace_id = uuid4()
    title = columns["name"]
    values = {
        "id": workspace_id,
        "branch": branch_name(terms.branch_prefix, workspace_id, title),
        "pool": terms.pool,
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
