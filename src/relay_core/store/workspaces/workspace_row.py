"""A workspace as a worker needs it: its row, repos, environment, secrets and executor as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Exists, bindparam, exists, select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.executions.action_json import executor_from_json
from relay_core.store.projects import secrets
from relay_core.store.projects.secrets import GivenValue, UsedSecret
from relay_core.store.schema.tables import (
    GivenSecret,
    ScopeDelegation,
    Session,
    Task,
    Workspace,
    WorkspaceEnvironment,
    WorkspaceRepo,
    WorkspaceScope,
    WorkspaceSecret,
)
from relay_core.store.workspaces.fork import sources_of


@dataclass(frozen=True)
class WorkspaceRepoRow:
    """A repo of a workspace, with the values that a worker needs."""

    repo_id: UUID
    name: str
    url: str
    target_branch: str | None
    ref: str | None
    """Branch, tag, commit id or full ref name from which the branch starts; None: the target branch."""
    base_commit: str | None
    mirror_path: str | None
    copy_files: str | None = None
    """Patterns of files that git does not have and that the clone gets."""
    copied_files: Sequence[str] = ()
    """Paths of the files that it got so."""
    start_commit: str | None = None
    """The recorded state of the workspace `WorkspaceRow.forked_from` from which the branch starts; None: none."""
    start_base_commit: str | None = None
    start_store: str | None = None
    """Name of the clone in that workspace."""
    restore_commit: str | None = None
    """Of an imported workspace: the commit to which its new clone is brought; None: it starts afresh."""


_OF_REPO: list[Any] = [getattr(WorkspaceRepo, one.name) for one in fields(WorkspaceRepoRow)]


@dataclass(frozen=True)
class WorkspaceRow:
    """A workspace with its repos, environment, secrets and executor, as a worker needs it."""

    id: UUID
    project_id: UUID
    task_id: UUID
    branch: str
    state: WorkspaceState
    image: str
    limits: Limits
    node_id: str | None
    container_id: str | None
    work_dir: str | None
    uid: int | None
    requested_uid: int | None
    auto_commit: bool
    repos: Sequence[WorkspaceRepoRow]
    env: Mapping[str, str]
    secrets: Sequence[str]
    """Those values of `env` that are masked in logs; of a fork also those of the workspaces that it starts from."""
    used_secrets: Sequence[UsedSecret]
    """Secrets of the project that the workspace uses, ordered by environment variable."""
    given_secrets: Sequence[GivenValue]
    """Secret values that executions of the workspace got, even if replaced or deleted since; all stay masked.

    Of a fork also those of the workspaces that it starts from: a step may have written one to a file.
    """
    secrets_in: frozenset[str]
    """Run reasons of the executions that get the secrets; others do not see them."""
    executor: ExecutorChoice
    """Executor of the workspace's latest session, as stored; it must be checked before its use."""
    forked_from: UUID | None = None
    """The workspace from whose recorded states it starts; None: it starts from the remotes."""
    delegates: bool = False
    """Whether it has, had or has given a delegation, or was given a scope (`store.delegations`)."""

    @property
    def prepared(self) -> bool:
        """Whether the container was created before; if so, the directory may hold work that exists nowhere else."""
        return self.container_id is not None


def _belongs(table: type[WorkspaceEnvironment | WorkspaceSecret | GivenSecret]) -> Exists:
    return exists().where(table.workspace_id == Workspace.id)


_WITH_WHAT_IT_HAS = (
    select(
        Workspace,
        Task.project_id,
        _belongs(WorkspaceEnvironment).label("has_environment"),
        _belongs(WorkspaceSecret).label("has_secrets"),
        _belongs(GivenSecret).label("was_given"),
        (
            exists().where(WorkspaceScope.workspace_id == Workspace.id)
            | exists().where(ScopeDelegation.parent_workspace_id == Workspace.id)
            | exists().where(ScopeDelegation.child_workspace_id == Workspace.id)
        ).label("delegates"),
        select(Session.executor_config)
        .where(Session.workspace_id == Workspace.id)
        .order_by(Session.created_at.desc())
        .limit(1)
        .scalar_subquery()
        .label("executor_config"),
    )
    .join(Task, Task.id == Workspace.task_id)
    .where(Workspace.id == bindparam("workspace_id"))
)
"""A workspace with its latest executor, and which other tables have rows of it: most workspaces have none there."""


def _environment(connection: Connection, workspace_id: UUID) -> Sequence[Any]:
    columns = (WorkspaceEnvironment.name, WorkspaceEnvironment.value, WorkspaceEnvironment.secret)
    return connection.execute(select(*columns).where(WorkspaceEnvironment.workspace_id == workspace_id)).all()


def load(connection: Connection, workspace_id: UUID) -> WorkspaceRow:
    """Return a workspace that exists, with everything that a worker needs to run a step in it."""
    row = connection.execute(_WITH_WHAT_IT_HAS, {"workspace_id": workspace_id}).mappings().one()
    repos = connection.execute(
        select(*_OF_REPO).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)
    )
    env = _environment(connection, workspace_id) if row["has_environment"] else []
    given = secrets.given(connection, workspace_id) if row["was_given"] else []
    masked = [value for _, value, secret in env if secret]
    for source in [] if row["forked_from"] is None else sources_of(connection, workspace_id):
        given += secrets.given(connection, source)
        masked += [value for _, value, secret in _environment(connection, source) if secret]
    return WorkspaceRow(
        id=row["id"],
        project_id=row["project_id"],
        task_id=row["task_id"],
        branch=row["branch"],
        state=WorkspaceState(row["state"]),
        image=row["resolved_image"],
        limits=Limits.from_row(row["limits"]),
        node_id=row["node_id"],
        container_id=row["container_id"],
        work_dir=row["work_dir"],
        uid=row["uid"],
        requested_uid=row["requested_uid"],
        auto_commit=row["auto_commit"],
        repos=[WorkspaceRepoRow(*repo) for repo in repos],
        env={name: value for name, value, _ in env},
        secrets=masked,
        used_secrets=secrets.used(connection, workspace_id) if row["has_secrets"] else [],
        given_secrets=given,
        secrets_in=frozenset(row["secrets_in"]),
        executor=executor_from_json(row["executor_config"] or {}),
        forked_from=row["forked_from"],
        delegates=row["delegates"],
    )
