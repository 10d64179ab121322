"""Turn request bodies into the inputs of use cases, with the checks that need this server's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any
from uuid import UUID

from relay_api.schemas.repos import RepoChange, RepoCreateIn
from relay_api.schemas.runs import EnvIn, JobIn, RepoUseIn, RunIn, StepIn
from relay_api.schemas.tasks import AttemptIn
from relay_api.schemas.workspaces import FirstWorkspaceIn, ProjectChange, WorkspaceChange, WorkspaceIn
from relay_core.domain import session_profiles
from relay_core.domain.agents.executors import check_prompt
from relay_core.domain.env_secrets import is_secret
from relay_core.domain.environment import check_environment
from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.git.start_ref import check_ref
from relay_core.domain.git.url import parse_git_url
from relay_core.domain.job_settings import DEFAULT_EXECUTOR
from relay_core.domain.limits import Limits
from relay_core.domain.run_notes import check_labels, check_metadata
from relay_core.domain.session_profiles import SessionProfiles
from relay_core.domain.task import prompt_of
from relay_core.domain.vocabulary import Priority, RunReason
from relay_core.domain.working_dir import normal_agent_dir, normal_working_dir
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.projects.repos import ProjectRepos
from relay_core.store.projects.task_changes import HeldTask, NewTask
from relay_core.store.workspaces.fork import Fork
from relay_core.store.workspaces.on_project import NewWorkspace
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import EnvValue, RepoInput, RunInput


def maxima(settings: Settings) -> dict[str, float]:
    """Return the largest values that a request may ask for, by the name of the limit."""
    bounds = vars(settings)
    return {limit.name: bounds[f"max_{limit.name}"] for limit in fields(Limits) if f"max_{limit.name}" in bounds}


def checked_url(url: str, field: str, settings: Settings) -> str:
    """Return the URL in the form that is given to git.

    Args:
        url: URL of a repository, from a request.
        field: path of the URL in the request, for the error.
        settings: settings of this server, which say which remotes it allows.

    Raises:
        InvalidInput: the text is not a git URL, contains credentials, or is not allowed by this server.
    """
    try:
        return parse_git_url(url, settings.remote_policy).text
    except InvalidInput as error:
        raise InvalidInput(str(error), code=error.code, field=field) from error


def attempt(
    body: AttemptIn,
    task: HeldTask | NewTask,
    there: ProjectRepos,
    settings: Settings,
    secrets: SecretBox,
    fork: Fork | None = None,
) -> RunInput[Mapping[str, Any]]:
    """Return the run of an attempt at a task; arguments and errors as for `run`.

    Args:
        body: the request.
        task: the task, which may be a new one.
        there: the task's project, and its repositories.
        fork: the workspace from whose recorded states the attempt starts; None: it starts from the remotes.
        settings: settings of this server.
        secrets: as for `run`.

    Raises:
        InvalidInput: `repo_unknown`, `ref_with_fork`, or as for `run`.
        Conflict: `no_after_state`: no state of a repository is recorded; or as for `run`.
    """
    if not there.repos:
        raise InvalidInput("the project of the task has no repositories; add one to it first", field="project_id")
    if body.repos is None:
        repos = [RepoInput(url) for url in (fork.states if fork else (repo.url for repo in there.repos))]
    else:
        chosen = [(one, there.named(one.repo, f"repos.{n}.repo")) for n, one in enumerate(body.repos)]
        repos = [_used(one, repo.url, f"repos.{n}") for n, (one, repo) in enumerate(chosen)]
    if fork is not None:
        repos = [_forked(repo, fork, f"repos.{n}") for n, repo in enumerate(repos)]
    prompt = body.prompt or prompt_of(task.title, task.description)
    more = {"project_id": there.project_id, "title": body.name, "task": task, "fork": fork}
    return _job(body, prompt, repos, settings, secrets, **more)


def first_attempt(
    body: FirstWorkspaceIn, there: ProjectRepos, settings: Settings, secrets: SecretBox
) -> RunInput[Mapping[str, Any]]:
    """Return the run of the first workspace of a new project; arguments and errors as for `attempt`."""
    if not there.repos:
        message = "the project has no repositories, so there is nothing to work on"
        raise InvalidInput(message, code="nothing_to_clone", field="first_workspace")
    task = NewTask(body.title, body.description)
    prompt = body.prompt or prompt_of(task.title, task.description)
    repos = [RepoInput(repo.url) for repo in there.repos]
    return _job(body, prompt, repos, settings, secrets, project_id=there.project_id, title=body.name, task=task)


def _forked(repo: RepoInput, fork: Fork, field: str) -> RepoInput:
    if repo.ref is not None:
        message = "a fork starts from the recorded state of the other workspace: leave ref out, or from_workspace"
        raise InvalidInput(message, code="ref_with_fork", field=f"{field}.ref")
    start = fork.state_of(repo.url, field)
    return replace(repo, start=start, target_branch=repo.target_branch or start.target_branch)


def run(body: RunIn, project_id: UUID | None, settings: Settings, secrets: SecretBox) -> RunInput[Mapping[str, Any]]:
    """Return the run that a request asks for; its executor contains the fields of the request.

    Args:
        body: the request.
        project_id: the project that the request names; None: it names none.
        settings: settings of this server.
        secrets: encrypts secrets; used to check that this server has a key if the run uses secrets.

    Raises:
        InvalidInput: a prompt, URL, branch, environment value or limit cannot be used here.
        Conflict: the run uses secrets and this server has no key.
    """
    repos = [
        _used(repo, checked_url(repo.url, f"repos.{n}.url", settings), f"repos.{n}")
        for n, repo in enumerate(body.repos)
    ]
    return _job(body, body.prompt, repos, settings, secrets, project_id=project_id, title=body.title)


def _job(
    body: JobIn, prompt: str, repos: Sequence[RepoInput], settings: Settings, secrets: SecretBox, **more: Any
) -> RunInput[Mapping[str, Any]]:
    executor = {} if body.executor is None else body.executor.model_dump(exclude_none=True)
    check_prompt(executor.get("name", DEFAULT_EXECUTOR), prompt)
    env = {name: _env(name, given) for name, given in body.env.items()}
    check_environment({name: given.value for name, given in env.items()})
    wanted = body.limits.model_dump(exclude_unset=True)
    check_labels(body.labels)
    check_metadata(body.metadata)
    named = _secrets(body)
    if named:
        secrets.check()
    return RunInput(
        repos=repos,
        prompt=prompt,
        executor=executor,
        limits=Limits.from_request(wanted, maxima(settings)),
        image=body.image,
        image_ids=body.image_ids,
        env=env,
        secrets=named,
        secrets_in=[RunReason(reason) for reason in dict.fromkeys(body.secrets_in)],
        user=body.user,
        agent_working_dir=agent_dir(body.agent_working_dir, "agent_working_dir"),
        auto_commit=body.auto_commit,
        labels=body.labels,
        metadata=body.metadata,
        priority=Priority(body.priority),
        needs=body.needs,
        named_limits=sorted(wanted),
        job_file=body.job_file,
        maxima=maxima(settings),
        **more,
    )


def workspace(body: WorkspaceIn, project_id: UUID, settings: Settings, secrets: SecretBox) -> NewWorkspace:
    """Return the workspace on a project that a request asks for; arguments and errors as for `run`."""
    env = {name: _env(name, given) for name, given in body.env.items()}
    check_environment({name: given.value for name, given in env.items()})
    wanted = body.limits.model_dump(exclude_unset=True)
    named = _secrets(body)
    if named:
        secrets.check()
    return NewWorkspace(
        project_id,
        Limits.from_request(wanted, maxima(settings)),
        body.title,
        body.image,
        body.user,
        env=env,
        secrets=named,
        secrets_in=[RunReason(reason) for reason in dict.fromkeys(body.secrets_in)],
        needs=body.needs,
        named_limits=sorted(wanted),
        maxima=maxima(settings),
        job_file=body.job_file,
        agent_working_dir=agent_dir(body.agent_working_dir, "agent_working_dir"),
    )


def agent_dir(path: str | None, field: str) -> str | None:
    """Return the working directory of an agent without needless parts; None: none is asked for."""
    return None if path is None else normal_agent_dir(path, field)


def workspace_fields(body: WorkspaceChange) -> dict[str, Any]:
    """Return the fields of a workspace that a request gives, checked."""
    given = body.model_dump(exclude_unset=True)
    if given.get("agent_working_dir") is not None:
        given["agent_working_dir"] = agent_dir(given["agent_working_dir"], "agent_working_dir")
    return given


def project_fields(body: ProjectChange, settings: Settings) -> dict[str, Any]:
    """Return the fields of a project that a request gives, checked."""
    given = body.model_dump(exclude_unset=True)
    if given.get("default_for") is not None:
        given["default_for"] = checked_url(given["default_for"], "default_for", settings)
    if given.get("default_agent_working_dir") is not None:
        key = "default_agent_working_dir"
        given[key] = normal_agent_dir(given[key], key)
    return given


def repo_fields(body: RepoCreateIn | RepoChange) -> dict[str, Any]:
    """Return the fields of a repository that a request gives, but its URL.

    Raises:
        InvalidInput: the target branch or the working directory cannot be one.
    """
    given = body.model_dump(exclude_unset=True, exclude={"url"})
    if given.get("default_target_branch") is not None:
        _check_branch(given["default_target_branch"], "default_target_branch")
    if given.get("default_working_dir") is not None:
        given["default_working_dir"] = normal_working_dir(given["default_working_dir"], "default_working_dir")
    return given


def step(body: StepIn) -> StepRequest:
    """Return the further step that a request asks for; its executor contains the fields of the request."""
    executor = None if body.executor is None else body.executor.model_dump()
    reason = RunReason(body.run_reason)
    return StepRequest(reason, body.repo, body.script, body.prompt, executor, body.as_root, body.notes())


def _used(repo: RepoUseIn, url: str, field: str) -> RepoInput:
    if repo.target_branch is not None:
        _check_branch(repo.target_branch, f"{field}.target_branch")
    if repo.ref is not None:
        check_ref(repo.ref, f"{field}.ref")
    values = repo.model_dump(include=set(RepoUseIn.model_fields))
    if repo.working_dir is not None:
        values["working_dir"] = normal_working_dir(repo.working_dir, f"{field}.working_dir") or ""
    return RepoInput(url, **values)


def _check_branch(name: str, field: str) -> None:
    if not is_valid_branch(name):
        message = f"{field.rpartition('.')[2]} is not a name that git takes for a branch"
        raise InvalidInput(message, code="branch_invalid", field=field)


def _env(name: str, given: str | EnvIn) -> EnvValue:
    value, secret = (given, None) if isinstance(given, str) else (given.value, given.secret)
    return EnvValue(value, is_secret(name, value) if secret is None else secret)


def _secrets(body: JobIn | WorkspaceIn) -> dict[str, str]:
    named = body.secrets if isinstance(body.secrets, dict) else {name: name for name in body.secrets}
    both = sorted(named.keys() & body.env.keys())
    if both:
        message = f"{', '.join(both)}: either in env or in secrets"
        raise InvalidInput(message, code="env_given_twice", field="secrets")
    return named


def run_of_profile(
    run: RunInput[Mapping[str, Any]], name: str | None, profiles: SessionProfiles
) -> RunInput[Mapping[str, Any]]:
    """Return a run with image and executor of its session profile, where the request gives none.

    Raises:
        InvalidInput: `profile_unknown`.
    """
    if name is None:
        return run
    profile = session_profiles.find(profiles, name)
    taken: dict[str, Any] = {}
    if run.image is None and profile.image is not None:
        taken["image"] = profile.image
    if not run.executor and profile.executor:
        check_prompt(profile.executor["name"], run.prompt)
        taken["executor"] = dict(profile.executor)
    return replace(run, profile=name, from_profile=tuple(taken), **taken)


def workspace_of_profile(wanted: NewWorkspace, name: str | None, profiles: SessionProfiles) -> NewWorkspace:
    """Return a workspace with the image of its session profile, where the request gives none; errors as above."""
    if name is None:
        return wanted
    image = session_profiles.find(profiles, name).image
    if wanted.image is not None or image is None:
        return replace(wanted, profile=name)
    return replace(wanted, profile=name, image=image, from_profile=("image",))
