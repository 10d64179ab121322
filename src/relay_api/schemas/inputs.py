"""From request bodies to what the core takes: the checks that need this server's settings."""

from collections.abc import Callable
from dataclasses import fields
from uuid import UUID

from sqlalchemy import Connection

from relay_api.schemas.runs import EnvIn, ExecutorIn, RepoIn, RunIn
from relay_core.domain.agents.executors import ExecutorChoice, check_prompt
from relay_core.domain.agents.profiles import Profiles, choose
from relay_core.domain.env_secrets import is_secret
from relay_core.domain.environment import check_environment
from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.git.url import RemotePolicy, parse_git_url
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.domain.working_dir import normal_working_dir
from relay_core.settings import Settings
from relay_core.store.projects import catalog
from relay_core.store.workspaces.submission import EnvValue, RepoInput, RunInput


def remote_policy(settings: Settings) -> RemotePolicy:
    """Which remotes this server lets its clients clone."""
    return RemotePolicy(
        allow_http=settings.git_allow_http,
        allow_git_protocol=settings.git_allow_git_protocol,
        allow_file=settings.git_allow_file,
        allow_private_hosts=settings.git_allow_private_hosts,
        allowed_hosts=settings.git_allowed_hosts,
    )


def maxima(settings: Settings) -> dict[str, float]:
    """The most that a request may ask for, by the name of the limit."""
    bounds = vars(settings)
    return {one.name: bounds[f"max_{one.name}"] for one in fields(Limits) if f"max_{one.name}" in bounds}


def checked_url(url: str, field: str, settings: Settings) -> str:
    """The URL as git is given it.

    Raises:
        InvalidInput: it is not one, holds credentials, or is not allowed here; names ``field``.
    """
    try:
        return parse_git_url(url, remote_policy(settings)).text
    except InvalidInput as error:
        raise InvalidInput(str(error), code=error.code, field=field) from error


def executor(given: ExecutorIn, profiles: Profiles) -> ExecutorChoice:
    """The executor as it is stored, its variant resolved, name and fields checked.

    Raises:
        InvalidInput: there is no such executor or variant, or a field is missing or not its own.
    """
    return choose(profiles, given.model_dump())


def run(body: RunIn, settings: Settings, profiles_of: Callable[[UUID | None, str], Profiles]) -> RunInput:
    """A run as the core takes it.

    Args:
        body: the request.
        settings: this server's.
        profiles_of: those that count in a project, by its id or the URL of the first repo.

    Raises:
        InvalidInput: a URL, branch, executor or limit that cannot be used here.
    """
    check_prompt(body.executor.name, body.prompt)
    env = {name: _env(name, given) for name, given in body.env.items()}
    check_environment({name: given.value for name, given in env.items()})
    wanted = body.limits.model_dump(exclude_unset=True)
    repos = [_repo(repo, f"repos.{position}", settings) for position, repo in enumerate(body.repos)]
    return RunInput(
        repos=repos,
        prompt=body.prompt,
        executor=executor(body.executor, profiles_of(body.project_id, repos[0].url)),
        limits=Limits.from_request(wanted, maxima(settings)),
        image=body.image,
        env=env,
        secrets=_secrets(body),
        secrets_in=[RunReason(reason) for reason in dict.fromkeys(body.secrets_in)],
        project_id=body.project_id,
        title=body.title,
        user=body.user,
        auto_commit=body.auto_commit,
    )


def with_project_scripts(connection: Connection, wanted: RunInput) -> RunInput:
    """The run with its project's scripts where it brings none."""
    if wanted.project_id is None:
        return wanted
    filled = []
    for repo in wanted.repos:
        values = dict(vars(repo))
        defaults = catalog.repo_defaults(connection, wanted.project_id, repo.url)
        if defaults is not None:
            values["setup_script"] = first_given(repo.setup_script, defaults.setup_script)
            values["cleanup_script"] = first_given(repo.cleanup_script, defaults.cleanup_script)
            values["parallel_setup_script"] = repo.parallel_setup_script or defaults.parallel_setup_script
        filled.append(RepoInput(**values))
    return RunInput(**{**vars(wanted), "repos": filled})


def first_given(own: str | None, default: str | None) -> str | None:
    """The request's own; an empty script means "none", not "the default"."""
    return default if own is None else own


def _repo(repo: RepoIn, field: str, settings: Settings) -> RepoInput:
    if repo.target_branch is not None and not is_valid_branch(repo.target_branch):
        message = "target_branch is not a name that git takes for a branch"
        raise InvalidInput(message, code="branch_invalid", field=f"{field}.target_branch")
    values = repo.model_dump()
    values["url"] = checked_url(repo.url, f"{field}.url", settings)
    if repo.working_dir is not None:
        values["working_dir"] = normal_working_dir(repo.working_dir, f"{field}.working_dir")
    return RepoInput(**values)


def _env(name: str, given: str | EnvIn) -> EnvValue:
    value, secret = (given, None) if isinstance(given, str) else (given.value, given.secret)
    return EnvValue(value, is_secret(name, value) if secret is None else secret)


def _secrets(body: RunIn) -> dict[str, str]:
    named = body.secrets if isinstance(body.secrets, dict) else {name: name for name in body.secrets}
    both = sorted(named.keys() & body.env.keys())
    if both:
        message = f"{', '.join(both)}: either in env or in secrets"
        raise InvalidInput(message, code="env_given_twice", field="secrets")
    return named
