"""Workspaces that are made on a project, without a run: its repositories are cloned and its setup scripts run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.job_file import ServerRules
from relay_core.domain.job_settings import REQUEST, JobTerms
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import CloneState, RunReason
from relay_core.settings import Settings
from relay_core.store.nodes import placement
from relay_core.store.schema.tables import Project, ProjectRepo, Repo
from relay_core.store.tokens import Principal
from relay_core.store.workspaces.repo_input import RepoInput, with_defaults
from relay_core.store.workspaces.submit import EnvValue, RunInput, submit_run


@dataclass(frozen=True)
class NewWorkspace:
    """A workspace as `POST /v1/workspaces` asks for it, validated.

    Attributes:
        title: title of its task; None: named after the project.
        image: None: that of the project, else the server's default.
        user: user id of its processes; None: the user of the image, or the node's default.
        env, secrets, secrets_in, needs, named_limits, maxima: as in `RunInput`.
        job_file: whether job files of the repositories are read.
        profile, from_profile: as in `RunInput`.
        agent_working_dir: as in `RunInput`.
    """

    project_id: UUID
    limits: Limits
    title: str | None = None
    image: str | None = None
    user: int | None = None
    env: Mapping[str, EnvValue] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    secrets_in: Sequence[RunReason] = (RunReason.CODING_AGENT,)
    needs: Collection[str] = ()
    named_limits: Collection[str] = ()
    maxima: Mapping[str, float] = field(default_factory=dict)
    job_file: bool = True
    profile: str | None = None
    from_profile: Collection[str] = ()
    agent_working_dir: str | None = None


def create_on_project(connection: Connection, wanted: NewWorkspace, principal: Principal, settings: Settings) -> UUID:
    """Insert a workspace with all repositories of a project, and queue its clone. It has no executor.

    Args:
        connection: one transaction of `Database`; the message of the clone is sent after its commit.
        wanted: the workspace.
        principal: owner of the new rows.
        settings: settings of the server.

    Returns:
        Id of the workspace.

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
        Conflict: `project_not_ready`: the project is being cloned, or could not be cloned; no row is made.
        InvalidInput: the project has no repositories, the image is not allowed, `limits.cpus` is above every node's, or
            a secret is unknown or too large.
    """
    project = select(Project.name, Project.state, Project.clone_error)
    project = project.where(Project.id == wanted.project_id, Project.deleted_at.is_(None)).with_for_update(read=True)
    if principal.only is not None:
        project = project.where(Project.created_by == principal.only)
    found = connection.execute(project).one_or_none()
    if found is None:
        raise NotFound(f"there is no project {wanted.project_id}")
    if found.state != CloneState.READY:
        why = f"could not be cloned ({found.clone_error}); clone it again" if found.clone_error else "is being cloned"
        message = f"the project is {found.state}: it {why}"
        raise Conflict(message, code="project_not_ready")
    if "cpus" in wanted.named_limits:
        placement.check_cpus(connection, settings.pool, wanted.limits.cpus)
    bare = _repos(connection, wanted.project_id)
    repos, sources = with_defaults(connection, bare, wanted.project_id, principal.owner)
    run = RunInput(
        repos=repos,
        prompt="",
        executor=ExecutorChoice(""),
        limits=wanted.limits,
        image=wanted.image,
        project_id=wanted.project_id,
        title=wanted.title or f"Workspace of {found.name}",
        user=wanted.user,
        agent_working_dir=wanted.agent_working_dir,
        env=wanted.env,
        secrets=wanted.secrets,
        secrets_in=wanted.secrets_in,
        needs=wanted.needs,
        profile=wanted.profile,
        from_profile=wanted.from_profile,
        job_terms=JobTerms(ServerRules(wanted.maxima, settings.allowed_images), read_files=wanted.job_file),
        sources={f"limits.{name}": REQUEST for name in wanted.named_limits} | sources,
    )
    return submit_run(connection, run, principal, settings).workspace_id


def _repos(connection: Connection, project_id: UUID) -> Sequence[RepoInput]:
    found = select(Repo.path).join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
    found = found.where(ProjectRepo.project_id == project_id).order_by(Repo.name, Repo.id)
    repos = [RepoInput(url) for url in connection.scalars(found)]
    if not repos:
        raise InvalidInput("the project has no repositories, so there is nothing to clone", field="project_id")
    return repos
