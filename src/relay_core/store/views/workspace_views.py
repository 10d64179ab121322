"""Workspaces as the API shows them to one principal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, select

from relay_core.domain.errors import NotFound
from relay_core.domain.vocabulary import StopReason, WorkspaceState
from relay_core.store.schema.tables import Task, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.views import git_states
from relay_core.store.views.access import of_owner
from relay_core.store.views.paging import Page, PageRequest, cut, paged
from relay_core.store.workspaces.dev_servers import live_dev_servers
from relay_core.store.workspaces.masked_environment import masked_env

View = dict[str, Any]
"""Fields of `relay_api.schemas.workspaces.WorkspaceOut`, without its links."""


@dataclass(frozen=True)
class WorkspaceFilter:
    """Conditions on the workspaces of a list; None sets no condition."""

    state: str | None = None
    project_id: UUID | None = None
    task_id: UUID | None = None
    archived: bool | None = None


# Built once: building these statements costs more than carrying them out.
_COLUMNS: Sequence[Any] = (
    Workspace.id,
    Workspace.task_id,
    Task.project_id,
    Workspace.name,
    Workspace.branch,
    Workspace.state,
    Workspace.requested_state,
    Workspace.idle_stopped,
    Workspace.error_reason,
    Workspace.archived,
    Workspace.pinned,
    Workspace.imported_from,
    Workspace.agent_working_dir,
    Workspace.forked_from,
    Workspace.node_id,
    Workspace.pool,
    Workspace.limits,
    Workspace.sources,
    Workspace.resolved_image.label("image"),
    Workspace.image_digest,
    Workspace.container_id.label("container"),
    Workspace.setup_completed_at,
    Workspace.event_seq.label("event_cursor"),
    Workspace.created_by,
    Workspace.created_at,
    Workspace.updated_at,
    Task.title.label("task_title"),
    Task.status.label("task_status"),
)
_WORKSPACES = select(*_COLUMNS).join(Task, Task.id == Workspace.task_id).where(Workspace.deleted_at.is_(None))
_WORKSPACE = _WORKSPACES.where(Workspace.id == bindparam("workspace"))
_OWN_WORKSPACE = _WORKSPACE.where(Workspace.created_by == bindparam("of_owner"))
_OF_REPO = (
    "workspace_id",
    "repo_id",
    "name",
    "url",
    "target_branch",
    "ref",
    "working_dir",
    "base_commit",
    "start_commit",
)
_REPOS = (
    select(*(getattr(WorkspaceRepo, name) for name in _OF_REPO))
    .where(WorkspaceRepo.workspace_id.in_(bindparam("workspaces", expanding=True)))
    .order_by(WorkspaceRepo.position)
)


def list_workspaces(
    connection: Connection, principal: Principal, conditions: WorkspaceFilter, page: PageRequest
) -> Page:
    """Return a page of the workspaces that are not deleted, newest first."""
    statement = _workspaces(principal)
    if conditions.state is not None:
        statement = statement.where(Workspace.state == conditions.state)
    if conditions.project_id is not None:
        statement = statement.where(Task.project_id == conditions.project_id)
    if conditions.task_id is not None:
        statement = statement.where(Workspace.task_id == conditions.task_id)
    if conditions.archived is not None:
        statement = statement.where(Workspace.archived == conditions.archived)
    ordered = paged(statement, Workspace.created_at, Workspace.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_repos(connection, found.items), found.next_cursor)


def workspace(connection: Connection, workspace_id: UUID, principal: Principal) -> View:
    """Return one workspace with its repos, task and dev server.

    Raises:
        NotFound: there is no such workspace, it is deleted, or it belongs to another owner.
    """
    statement = _WORKSPACE if principal.only is None else _OWN_WORKSPACE
    values = {"workspace": workspace_id, "of_owner": principal.only}
    row = connection.execute(statement, values).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    return _with_repos(connection, [dict(row)])[0]


def _workspaces(principal: Principal) -> Select[Any]:
    return of_owner(_WORKSPACES, principal)


def _with_repos(connection: Connection, views: list[View]) -> list[View]:
    ids = [view["id"] for view in views]
    repos: dict[UUID, list[View]] = {}
    for row in connection.execute(_REPOS, {"workspaces": ids}).mappings():
        repos.setdefault(row["workspace_id"], []).append(dict(row))
    servers = live_dev_servers(connection, ids)
    masked = masked_env(connection, ids)
    states = git_states.states_of(connection, ids)
    for view in views:
        view["stop_reason"] = _stop_reason(view, idle=view.pop("idle_stopped"))
        view["masked_env"] = masked.get(view["id"], [])
        of_clones = {state["repo_id"]: state["git_state"] for state in states.get(view["id"], [])}
        view["repos"] = [{**repo, "git_state": of_clones.get(repo["repo_id"])} for repo in repos.get(view["id"], [])]
        view["git_state"] = git_states.worst(states.get(view["id"], []))
        view["task"] = {"id": view["task_id"], "title": view.pop("task_title"), "status": view.pop("task_status")}
        live = next((server for server in servers if server.workspace_id == view["id"]), None)
        view["dev_server"] = live and {"execution_id": live.id, "status": live.status, "url": live.dev_server_url}
    return views


def _stop_reason(view: View, *, idle: bool) -> StopReason | None:
    if (view["requested_state"] or view["state"]) != WorkspaceState.STOPPED:
        return None
    return StopReason.IDLE if idle else StopReason.CLIENT
