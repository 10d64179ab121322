"""What the API shows, read for one principal: every query is filtered by the owner of the workspace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, Select, func, select

from relay_core.domain.chain import next_group
from relay_core.domain.errors import NotFound
from relay_core.domain.logs.secret_forms import MIN_SECRET_BYTES
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import ACTIVE, RunReason, Status, Stream
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.executions.handle_json import handle_from_json
from relay_core.store.nodes import admission
from relay_core.store.schema.tables import (
    CodingAgentTurn,
    ExecutionProcess,
    ExecutionProcessRepoState,
    Lane,
    LogStream,
    Task,
    Workspace,
    WorkspaceEnvironment,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

E = ExecutionProcess
View = dict[str, Any]


@dataclass(frozen=True)
class ExecutionFilter:
    """Which executions to list; None: any."""

    status: Sequence[Status] = ()
    run_reason: Sequence[RunReason] = ()
    workspace_id: UUID | None = None


@dataclass(frozen=True)
class WorkspaceFilter:
    """Which workspaces to list; None: any."""

    state: str | None = None
    project_id: UUID | None = None
    task_id: UUID | None = None


def require_workspace(
    connection: Connection, workspace_id: UUID, principal: Principal, *, deleted_too: bool = False
) -> None:
    """Let only those pass who may see the workspace.

    Raises:
        NotFound: it is not there for this principal, or deleted.
    """
    statement = _mine(select(Workspace.id), principal).where(Workspace.id == workspace_id)
    if not deleted_too:
        statement = statement.where(Workspace.deleted_at.is_(None))
    if connection.execute(statement).one_or_none() is None:
        raise NotFound(f"there is no workspace {workspace_id}")


def require_execution(connection: Connection, execution_id: UUID, principal: Principal) -> RowMapping:
    """The execution's row, its workspace deleted or not: what happened stays readable.

    Raises:
        NotFound: it is not there for this principal.
    """
    statement = _mine(select(E).join(Workspace, Workspace.id == E.workspace_id), principal).where(E.id == execution_id)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no execution {execution_id}")
    return row


def list_executions(connection: Connection, principal: Principal, wanted: ExecutionFilter, page: PageRequest) -> Page:
    """Executions, newest first."""
    statement = _mine(select(E).join(Workspace, Workspace.id == E.workspace_id), principal)
    if wanted.status:
        statement = statement.where(E.status.in_(wanted.status))
    if wanted.run_reason:
        statement = statement.where(E.run_reason.in_(wanted.run_reason))
    if wanted.workspace_id is not None:
        statement = statement.where(E.workspace_id == wanted.workspace_id)
    return _execution_page(connection, statement, page, newest_first=True)


def workspace_executions(connection: Connection, workspace_id: UUID, principal: Principal, page: PageRequest) -> Page:
    """Executions of a workspace in the order of their creation.

    Raises:
        NotFound: the workspace is not there for this principal.
    """
    require_workspace(connection, workspace_id, principal)
    statement = select(E).where(E.workspace_id == workspace_id)
    return _execution_page(connection, statement, page, newest_first=False)


def execution(connection: Connection, execution_id: UUID, principal: Principal) -> View:
    """One execution with all that helps to understand where it stands.

    Raises:
        NotFound: it is not there for this principal.
    """
    row = require_execution(connection, execution_id, principal)
    view = _with_evidence(connection, [_execution_view(row)])[0]
    turn = connection.execute(
        select(
            CodingAgentTurn.agent_session_id, CodingAgentTurn.prompt, CodingAgentTurn.summary, CodingAgentTurn.usage
        ).where(CodingAgentTurn.execution_process_id == execution_id)
    )
    following = next_group(action_from_json(row["executor_action"])) if row["status"] in ACTIVE else []
    return {
        **view,
        "action": row["executor_action"]["step"],
        "next": [{"run_reason": action.step.run_reason, "repo": action.step.repo} for action in following],
        "turn": next((dict(found) for found in turn.mappings()), None),
        "queue": _queue(connection, row) if row["status"] == Status.QUEUED else None,
    }


def log_stats(connection: Connection, ids: Sequence[UUID]) -> dict[tuple[UUID, str], RowMapping]:
    """What is stored of the logs of some executions, by (execution, stream); one that never wrote has no entry."""
    rows = connection.execute(select(LogStream).where(LogStream.execution_id.in_(ids))).mappings()
    return {(row["execution_id"], row["stream"]): row for row in rows}


def list_workspaces(connection: Connection, principal: Principal, wanted: WorkspaceFilter, page: PageRequest) -> Page:
    """Workspaces that are not deleted, newest first."""
    statement = _workspaces(principal)
    if wanted.state is not None:
        statement = statement.where(Workspace.state == wanted.state)
    if wanted.project_id is not None:
        statement = statement.where(Task.project_id == wanted.project_id)
    if wanted.task_id is not None:
        statement = statement.where(Workspace.task_id == wanted.task_id)
    ordered = paged(statement, Workspace.created_at, Workspace.id, page, newest_first=True)
    found = cut([dict(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_repos(connection, found.items), found.next_cursor)


def workspace(connection: Connection, workspace_id: UUID, principal: Principal) -> View:
    """One workspace.

    Raises:
        NotFound: it is not there for this principal, or deleted.
    """
    row = connection.execute(_workspaces(principal).where(Workspace.id == workspace_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    return _with_repos(connection, [dict(row)])[0]


def dev_servers(connection: Connection, workspace_ids: Sequence[UUID]) -> list[RowMapping]:
    """The dev servers that are queued or running, the latest first."""
    statement = select(E).where(
        E.workspace_id.in_(workspace_ids), E.run_reason == RunReason.DEV_SERVER, E.status.in_(ACTIVE)
    )
    return list(connection.execute(statement.order_by(E.created_at.desc(), E.id)).mappings())


def dev_server_url(row: RowMapping) -> str | None:
    """Where a running dev server answers on its node; None while its port does not answer."""
    port = handle_from_json(row["handle"]).forward_port if row["handle"] else None
    return f"http://127.0.0.1:{port}" if port and row["status"] == Status.RUNNING else None


def _mine(statement: Select[Any], principal: Principal) -> Select[Any]:
    return statement if principal.only is None else statement.where(Workspace.created_by == principal.only)


def _execution_page(connection: Connection, statement: Select[Any], page: PageRequest, *, newest_first: bool) -> Page:
    ordered = paged(statement, E.created_at, E.id, page, newest_first=newest_first)
    found = cut([_execution_view(row) for row in connection.execute(ordered).mappings()], page)
    return Page(_with_evidence(connection, found.items), found.next_cursor)


def _execution_view(row: RowMapping) -> View:
    step = action_from_json(row["executor_action"]).step
    own = row["run_reason"] == RunReason.DEV_SERVER
    names = (
        "id workspace_id session_id run_reason status reason error_reason exit_code attempt node_id "
        "created_at started_at completed_at kill_requested_at kill_requested_by retry_of"
    )
    return {
        **{name: row[name] for name in names.split()},
        "repo": step.repo,
        "executor": step.executor.name if isinstance(step, AgentStep) else None,
        "dev_server": {"url": dev_server_url(row)} if own else None,
    }


def _with_evidence(connection: Connection, views: list[View]) -> list[View]:
    ids = [view["id"] for view in views]
    state = ExecutionProcessRepoState
    statement = (
        select(
            state.execution_process_id,
            state.repo_id,
            WorkspaceRepo.name,
            *(getattr(state, name) for name in _STATE_FIELDS),
        )
        .join(E, E.id == state.execution_process_id)
        .join(
            WorkspaceRepo,
            (WorkspaceRepo.workspace_id == E.workspace_id) & (WorkspaceRepo.repo_id == state.repo_id),
        )
        .where(state.execution_process_id.in_(ids))
        .order_by(WorkspaceRepo.position)
    )
    states: dict[UUID, list[View]] = {}
    for row in connection.execute(statement).mappings():
        states.setdefault(row["execution_process_id"], []).append(_state_view(row))
    stats = log_stats(connection, ids)
    for view in views:
        view["repo_states"] = states.get(view["id"], [])
        view["logs"] = {stream.value: _log(stats.get((view["id"], stream)), view) for stream in Stream}
    return views


_STATE_FIELDS = (
    "before_head_commit",
    "after_head_commit",
    "merge_commit",
    "branch",
    "dirty",
    "summary",
    "pinned_commit",
    "committed",
    "problem",
    "stat",
)


def _state_view(row: RowMapping) -> View:
    """A repo's state; what is masked in it and what is left out of it by themselves."""
    stat = dict(row["stat"] or {})
    patched = stat.pop("masked", [])
    stat.get("step", {}).pop("masked", None)
    masked = [*stat.pop("masked_fields", []), *(f"patch:{path}" for path in patched)]
    omitted = stat.pop("omitted", [])
    return {**row, "stat": stat or None, "masked": masked, "omitted": omitted}


def _log(stored: RowMapping | None, view: View) -> View:
    """Of one that never started there is nothing, and there will be nothing once it has ended."""
    final = Status(view["status"]).final
    if stored is None:
        return {"bytes": 0, "sha256": None, "truncated": False, "closed": final}
    return {**stored, "closed": stored["closed"] or final}


def _queue(connection: Connection, row: RowMapping) -> View:
    """What a queued execution waits for: others of its workspace, then room on a node."""
    if row["run_reason"] == RunReason.DEV_SERVER:
        return {"ahead": 0, "waits_for": [], "waits": admission.why_waits(connection, row["id"])}
    queued = (E.status == Status.QUEUED) & (E.run_reason != RunReason.DEV_SERVER)
    ahead = connection.scalar(
        select(func.count()).where(
            E.workspace_id == row["workspace_id"], queued, E.lane_position < row["lane_position"]
        )
    )
    holders = (
        select(E.id)
        .join(Lane, (Lane.workspace_id == E.workspace_id) & (Lane.group_id == E.group_id))
        .where(E.workspace_id == row["workspace_id"], E.status == Status.RUNNING, E.group_id != row["group_id"])
    )
    waits_for = list(connection.scalars(holders))
    first = not ahead and not waits_for
    waits = admission.why_waits(connection, row["id"]) if first else None
    return {"ahead": ahead or 0, "waits_for": waits_for, "waits": waits}


def _workspaces(principal: Principal) -> Select[Any]:
    columns = (
        Workspace.id,
        Workspace.task_id,
        Task.project_id,
        Workspace.name,
        Workspace.branch,
        Workspace.state,
        Workspace.requested_state,
        Workspace.error_reason,
        Workspace.archived,
        Workspace.pinned,
        Workspace.node_id,
        Workspace.pool,
        Workspace.limits,
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
    statement = select(*columns).join(Task, Task.id == Workspace.task_id).where(Workspace.deleted_at.is_(None))
    return _mine(statement, principal)


def _with_repos(connection: Connection, views: list[View]) -> list[View]:
    ids = [view["id"] for view in views]
    names = ("workspace_id", "repo_id", "name", "url", "target_branch", "working_dir", "base_commit")
    statement = select(*(getattr(WorkspaceRepo, name) for name in names)).where(WorkspaceRepo.workspace_id.in_(ids))
    repos: dict[UUID, list[View]] = {}
    for row in connection.execute(statement.order_by(WorkspaceRepo.position)).mappings():
        repos.setdefault(row["workspace_id"], []).append(dict(row))
    servers = dev_servers(connection, ids)
    masked = masked_env(connection, ids)
    for view in views:
        view["masked_env"] = masked.get(view["id"], [])
        view["repos"] = repos.get(view["id"], [])
        view["task"] = {"id": view["task_id"], "title": view.pop("task_title"), "status": view.pop("task_status")}
        live = next((row for row in servers if row["workspace_id"] == view["id"]), None)
        view["dev_server"] = live and {
            "execution_id": live["id"],
            "status": live["status"],
            "url": dev_server_url(live),
        }
    return views


def masked_env(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The variables whose values are masked; shorter ones are not, whatever was said of them."""
    e = WorkspaceEnvironment
    statement = select(e.workspace_id, e.name).where(
        e.workspace_id.in_(ids), e.secret, func.octet_length(e.value) >= MIN_SECRET_BYTES
    )
    found: dict[UUID, list[str]] = {}
    for workspace_id, name in connection.execute(statement.order_by(e.name)):
        found.setdefault(workspace_id, []).append(name)
    return found
