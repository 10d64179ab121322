"""Workspaces as the worker needs them: what a node must know to make one, and what it reports back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, text, true, update

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import CloneState, Reason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.executions.action_json import executor_from_json
from relay_core.store.projects import secrets
from relay_core.store.projects.secrets import Given, UsedSecret
from relay_core.store.schema.tables import (
    ExecutionProcess,
    ProjectRepo,
    Session,
    Task,
    Workspace,
    WorkspaceEnvironment,
    WorkspaceRepo,
)


@dataclass(frozen=True)
class WorkspaceRepoRow:
    """A repo of a workspace."""

    repo_id: UUID
    name: str
    url: str
    target_branch: str | None
    base_commit: str | None
    mirror_path: str | None


@dataclass(frozen=True)
class WorkspaceRow:
    """A workspace with its repos and environment."""

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
    """Values of `env` to mask."""
    used_secrets: Sequence[UsedSecret]
    """Of its project, by name."""
    given_secrets: Sequence[Given]
    """What its executions have had of them."""
    secrets_in: frozenset[str]
    """Run reasons of the executions that get them."""
    executor: ExecutorChoice
    """Of its latest session, not checked."""

    @property
    def prepared(self) -> bool:
        """Whether it was ready once: then its directory holds work that nobody else has."""
        return self.container_id is not None


def load(connection: Connection, workspace_id: UUID) -> WorkspaceRow:
    """The whole of it; it exists because an execution names it."""
    row = (
        connection.execute(
            select(Workspace, Task.project_id)
            .join(Task, Task.id == Workspace.task_id)
            .where(Workspace.id == workspace_id)
        )
        .mappings()
        .one()
    )
    repos = connection.execute(
        select(
            WorkspaceRepo.repo_id,
            WorkspaceRepo.name,
            WorkspaceRepo.url,
            WorkspaceRepo.target_branch,
            WorkspaceRepo.base_commit,
            WorkspaceRepo.mirror_path,
        )
        .where(WorkspaceRepo.workspace_id == workspace_id)
        .order_by(WorkspaceRepo.position)
    )
    env = connection.execute(
        select(WorkspaceEnvironment.name, WorkspaceEnvironment.value, WorkspaceEnvironment.secret).where(
            WorkspaceEnvironment.workspace_id == workspace_id
        )
    ).all()
    executor = connection.execute(
        select(Session.executor_config)
        .where(Session.workspace_id == workspace_id)
        .order_by(Session.created_at.desc())
        .limit(1)
    ).scalar_one_or_none()
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
        secrets=[value for _, value, masked in env if masked],
        used_secrets=secrets.used(connection, workspace_id),
        given_secrets=secrets.given(connection, workspace_id),
        secrets_in=frozenset(row["secrets_in"]),
        executor=executor_from_json(executor or {}),
    )


def set_fields(connection: Connection, workspace_id: UUID, **fields: Any) -> None:
    """Write what the node found out (container, digest, directory)."""
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(**fields, updated_at=func.now()))


def reserve_uid(
    connection: Connection, workspace_id: UUID, node_id: str, choose: Callable[[set[int]], int | None]
) -> int | None:
    """Store the uid that ``choose`` finds, given those of the node's other workspaces whose files are there.

    Serialised by node: no two workspaces get the same. Repeated, it finds the uid of the first time.
    """
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('relay.uid', 0) # hashtextextended(:node, 0))")
    connection.execute(lock, {"node": node_id})
    known = connection.scalar(select(Workspace.uid).where(Workspace.id == workspace_id))
    if known is not None:
        return known
    here = (Workspace.node_id == node_id) & Workspace.uid.is_not(None) & Workspace.container_ref.is_not(None)
    uid = choose({one for one in connection.scalars(select(Workspace.uid).where(here)) if one is not None})
    if uid is not None:
        set_fields(connection, workspace_id, uid=uid)
    return uid


def set_state(connection: Connection, workspace_id: UUID, state: WorkspaceState, error: str | None = None) -> None:
    """Change the workspace's state, with an event when it is another one."""
    changed = connection.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.state != state)
        .values(state=state, error_reason=error, updated_at=func.now())
        .returning(Workspace.id)
    )
    if changed is not None:
        events.append(
            connection, workspace_id, EventKind.WORKSPACE_STATE_CHANGED, {"state": state, "error_reason": error}
        )


def preparation_failed(connection: Connection, workspace_id: UUID, why: Transition) -> None:
    """What every end of a clone but `completed` means for its workspace, and for the mirrors that it was making.

    Called in the transaction that ends the clone, whoever ends it: nothing else would ever change these states.
    """
    project_id = connection.scalar(
        select(Task.project_id)
        .join(Workspace, Workspace.task_id == Task.id)
        .where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
    )
    if project_id is None:
        return
    message = why.error_reason or f"the clone ended as {why.target}"
    set_state(connection, workspace_id, WorkspaceState.FAILED, message)
    its_own_fault = why.reason in {Reason.CLONE_FAILED, Reason.CLONE_TIMEOUT}
    mirrors = (
        select(ProjectRepo.repo_id)
        .join(WorkspaceRepo, WorkspaceRepo.repo_id == ProjectRepo.repo_id)
        .where(WorkspaceRepo.workspace_id == workspace_id, ProjectRepo.project_id == project_id)
        .where(true() if its_own_fault else ProjectRepo.state == CloneState.CLONING)
        .order_by(ProjectRepo.repo_id)
    )
    for repo_id in connection.scalars(mirrors).all():  # in one order everywhere
        set_clone_state(connection, project_id, repo_id, CloneState.FAILED, error=message)


def clone_completed(connection: Connection, execution_id: UUID) -> bool:
    """Whether the end that this transaction wrote is `completed`."""
    status = connection.scalar(select(ExecutionProcess.status).where(ExecutionProcess.id == execution_id))
    return bool(status == Status.COMPLETED)


def record_clone(
    connection: Connection,
    workspace: WorkspaceRow,
    repo_id: UUID,
    *,
    mirror_path: str,
    base_commit: str,
    branch: str | None,
) -> None:
    """Note where a clone came from, and that its mirror is ready."""
    connection.execute(
        update(WorkspaceRepo)
        .where(WorkspaceRepo.workspace_id == workspace.id, WorkspaceRepo.repo_id == repo_id)
        .values(base_commit=base_commit, mirror_path=mirror_path, target_branch=branch)
    )
    set_clone_state(connection, workspace.project_id, repo_id, CloneState.READY, local_path=mirror_path)


def set_clone_state(
    connection: Connection,
    project_id: UUID,
    repo_id: UUID,
    state: CloneState,
    *,
    local_path: str | None = None,
    error: str | None = None,
) -> None:
    """The state of a project's mirror of one repo; a mirror that is ready keeps its path when a later fetch fails."""
    values: dict[str, Any] = {"state": state, "clone_error": error}
    if local_path is not None:
        values["local_path"] = local_path
    connection.execute(
        update(ProjectRepo).where(ProjectRepo.project_id == project_id, ProjectRepo.repo_id == repo_id).values(**values)
    )
