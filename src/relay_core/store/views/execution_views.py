"""Executions as the API shows them to one principal, which sees its own executions or, as an admin, all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, select

from relay_core.domain.chain import next_group
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import ACTIVE, OperationClass, RunReason, Status, Stream
from relay_core.store.executions.action_json import step_to_json
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.logs.stream_info import StreamInfo, stream_infos
from relay_core.store.schema.tables import (
    CodingAgentTurn,
    ExecutionProcess,
    ExecutionProcessRepoState,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.views.access import executions_of, of_owner, require_execution, require_workspace
from relay_core.store.views.clone_progress import progress_of
from relay_core.store.views.paging import Page, PageRequest, cut, paged
from relay_core.store.views.waiting import queues_of

E, State = ExecutionProcess, ExecutionProcessRepoState
View = dict[str, Any]
"""Fields of `relay_api.schemas.executions.ExecutionOut` or `ExecutionDetail`, without their links."""

_STATE_FIELDS = (
    "before_head_commit",
    "after_head_commit",
    "merge_commit",
    "after_state",
    "branch",
    "dirty",
    "summary",
    "pinned_commit",
    "committed",
    "problem",
    "stat",
)
# Built once: building these statements costs more than carrying them out.
_STATES = (
    select(
        State.execution_process_id,
        State.repo_id,
        WorkspaceRepo.name,
        *(getattr(State, name) for name in _STATE_FIELDS),
    )
    .join(E, E.id == State.execution_process_id)
    .join(
        WorkspaceRepo,
        (WorkspaceRepo.workspace_id == E.workspace_id) & (WorkspaceRepo.repo_id == State.repo_id),
    )
    .where(State.execution_process_id.in_(bindparam("executions", expanding=True)))
    .order_by(WorkspaceRepo.position)
)
_TURN = select(
    CodingAgentTurn.agent_session_id,
    CodingAgentTurn.agent_message_id,
    CodingAgentTurn.prompt,
    CodingAgentTurn.summary,
    CodingAgentTurn.usage,
    CodingAgentTurn.seen,
).where(CodingAgentTurn.execution_process_id == bindparam("execution"))
_STEP = select(E.executor_action["step"]).where(E.id == bindparam("execution"))


@dataclass(frozen=True)
class ExecutionFilter:
    """Conditions on the executions of a list; an empty or None value sets no condition."""

    status: Sequence[Status] = ()
    run_reason: Sequence[RunReason] = ()
    workspace_id: UUID | None = None
    without_workspace: bool = False
    """Whether only clones of projects are wanted."""


def list_executions(
    connection: Connection, principal: Principal, conditions: ExecutionFilter, page: PageRequest
) -> Page:
    """Return a page of executions over all workspaces and projects, newest first.

    Executions of deleted workspaces are included.
    """
    rows: list[RowMapping] = []
    for statement in executions_of(principal):
        if conditions.status:
            statement = statement.where(E.status.in_(conditions.status))  # noqa: PLW2901
        if conditions.run_reason:
            statement = statement.where(E.run_reason.in_(conditions.run_reason))  # noqa: PLW2901
        if conditions.workspace_id is not None:
            statement = statement.where(E.workspace_id == conditions.workspace_id)  # noqa: PLW2901
        if conditions.without_workspace:
            statement = statement.where(E.project_id.is_not(None), E.workspace_id.is_(None))  # noqa: PLW2901
        rows += connection.execute(paged(statement, E.created_at, E.id, page, newest_first=True)).mappings()
    rows.sort(key=lambda row: (row["created_at"], row["id"]), reverse=True)
    return _as_page(connection, rows[: page.limit + 1], page)


def workspace_executions(connection: Connection, workspace_id: UUID, principal: Principal, page: PageRequest) -> Page:
    """Return a page of the executions of a workspace in the order of their creation.

    Raises:
        NotFound: there is no such workspace, it is deleted, or it belongs to another owner.
    """
    require_workspace(connection, workspace_id, principal)
    statement = select(E).where(E.workspace_id == workspace_id)
    return _execution_page(connection, statement, page, newest_first=False)


def run_executions(connection: Connection, run_id: UUID, principal: Principal, page: PageRequest) -> Page:
    """Return a page of the executions of a run in the order of their creation; empty if it belongs to another owner."""
    statement = of_owner(select(E).join(Workspace, Workspace.id == E.workspace_id), principal).where(E.run_id == run_id)
    return _execution_page(connection, statement, page, newest_first=False)


def execution(connection: Connection, execution_id: UUID, principal: Principal) -> View:
    """Return one execution with its step, the steps that follow, and the turn of its agent.

    While it is queued, the result also says what it waits for.

    Raises:
        NotFound: there is no such execution, or it belongs to another owner.
    """
    row = require_execution(connection, execution_id, principal)
    queued = row.status is Status.QUEUED
    queue = queues_of(connection, [row.id])[row.id] if queued else None
    following = next_group(row.action) if row.status in ACTIVE else []
    return {
        **(_unstarted(_execution_view(row)) if queued else _with_evidence(connection, [_execution_view(row)])[0]),
        "action": step_to_json(row.action.step) if queued else _stored_step(connection, execution_id),
        "next": [{"run_reason": action.step.run_reason, "repo": action.step.repo} for action in following],
        "turn": _turn(connection, execution_id) if isinstance(row.action.step, AgentStep) else None,
        "waits_for": queue.pop("because") if queue else None,
        "queue": queue,
    }


def _turn(connection: Connection, execution_id: UUID) -> View | None:
    turn = connection.execute(_TURN, {"execution": execution_id})
    return next((dict(found) for found in turn.mappings()), None)


def _stored_step(connection: Connection, execution_id: UUID) -> Any:
    return connection.scalar(_STEP, {"execution": execution_id})


def end_of(connection: Connection, execution_id: UUID, stream: Stream) -> View:
    """Return how an execution ended and how much of one stream of its log is stored.

    This is the content of the last frame, `end`, for a client that follows the log.
    """
    row = ExecutionRow.from_row(connection.execute(select(E).where(E.id == execution_id)).mappings().one())
    end = {"status": row.status, "reason": row.reason, "exit_code": row.exit_code, "error_reason": row.error_reason}
    log = stream_infos(connection, [execution_id]).get((execution_id, stream))
    known = {"bytes": log.bytes, "sha256": log.sha256, "truncated": log.truncated} if log else {"bytes": 0}
    return {**end, "stream": stream, **known}


def count_active(connection: Connection) -> dict[tuple[Status, RunReason], int]:
    """Return how many executions are queued or running, by status and run reason.

    Combinations that no execution has are left out.
    """
    counts = select(E.status, E.run_reason, func.count()).where(E.status.in_(ACTIVE)).group_by(E.status, E.run_reason)
    return {(Status(status), RunReason(reason)): count for status, reason, count in connection.execute(counts)}


def _execution_page(connection: Connection, statement: Select[Any], page: PageRequest, *, newest_first: bool) -> Page:
    ordered = paged(statement, E.created_at, E.id, page, newest_first=newest_first)
    return _as_page(connection, connection.execute(ordered).mappings().all(), page)


def _as_page(connection: Connection, rows: Sequence[RowMapping], page: PageRequest) -> Page:
    found = cut([_execution_view(ExecutionRow.from_row(row)) for row in rows], page)
    return Page(_with_evidence(connection, found.items), found.next_cursor)


def _execution_view(row: ExecutionRow) -> View:
    step = row.action.step
    names = (
        "id run_id project_id group_id run_reason status reason error_reason exit_code attempt node_id "
        "created_at started_at completed_at kill_requested_at kill_requested_by retry_of dropped"
    )
    return {
        **{name: getattr(row, name) for name in names.split()},
        "workspace_id": row.in_workspace,
        "session_id": row.in_session,
        "operation_class": OperationClass.REGISTRY if row.project_id else row.run_reason.operation_class,
        "repo": step.repo,
        "executor": step.executor.name if isinstance(step, AgentStep) else None,
        "dev_server": {"url": row.dev_server_url} if row.run_reason is RunReason.DEV_SERVER else None,
        "progress": None,
    }


def _unstarted(view: View) -> View:
    """Return the view of an execution that no worker has claimed yet, so that it has neither git states nor a log."""
    return {**view, "repo_states": [], "logs": {stream.value: _log(None, view) for stream in Stream}}


def _with_evidence(connection: Connection, views: list[View]) -> list[View]:
    ids = [view["id"] for view in views]
    states: dict[UUID, list[View]] = {}
    for row in connection.execute(_STATES, {"executions": ids}).mappings():
        states.setdefault(row["execution_process_id"], []).append(_state_view(row))
    stored = stream_infos(connection, ids)
    cloning = [view for view in views if view["run_reason"] is RunReason.CLONE and view["status"] is Status.RUNNING]
    progress = progress_of(connection, [view["id"] for view in cloning])
    for view in views:
        view["repo_states"] = states.get(view["id"], [])
        view["progress"] = progress.get(view["id"])
        view["logs"] = {stream.value: _log(stored.get((view["id"], stream)), view) for stream in Stream}
    return views


def _state_view(row: RowMapping) -> View:
    """Return a repo's recorded git state as the API shows it.

    `masked` and `omitted` are taken out of the stored `stat` and become fields of their own.
    """
    stat = dict(row["stat"] or {})
    stat.pop("run", None)  # what a run changed is told by the run
    patched = stat.pop("masked", [])
    stat.get("step", {}).pop("masked", None)
    masked = [*stat.pop("masked_fields", []), *(f"patch:{path}" for path in patched)]
    omitted = stat.pop("omitted", [])
    excluded = stat.pop("excluded", None)
    counts = stat if "files" in stat else None
    return {**row, "stat": counts, "masked": masked, "omitted": omitted, "excluded": excluded}


def _log(stored: StreamInfo | None, view: View) -> View:
    """Return size and state of one stream as the API shows it.

    A stream without a stored row counts as closed once its execution has ended, because nothing will be written.
    """
    log = stored or StreamInfo()
    return {**log._asdict(), "closed": log.closed or view["status"].final}
