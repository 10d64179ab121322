"""Reruns: a run is repeated as a new run, from its start or from the step that failed."""

from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import Connection, case, func, insert, literal, select, update

from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.git.branch_name import branch_name
from relay_core.domain.images import check_allowed
from relay_core.domain.operations import OperationKind
from relay_core.domain.step import AgentStep, CloneStep
from relay_core.domain.vocabulary import Priority, RunKind, RunReason, RunStatus
from relay_core.settings import Settings
from relay_core.store import operations
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.executions.retry import note_repetition, refuse_repetition, retry_execution
from relay_core.store.runs.create import NewRun, create_run
from relay_core.store.schema.tables import (
    ExecutionProcess,
    Lane,
    Project,
    Run,
    Session,
    Task,
    Workspace,
    WorkspaceEnvironment,
    WorkspaceRepo,
    WorkspaceSecret,
)
from relay_core.store.tokens import Principal
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces import lane, sessions
from relay_core.store.workspaces.add_step import queue_step
from relay_core.store.workspaces.follow_up import add_follow_up

E, W = ExecutionProcess, Workspace
From = Literal["start", "failed_step"]
_OF_WORKSPACE = (
    "task_id",
    "agent_working_dir",
    "name",
    "pool",
    "requested_image",
    "requested_uid",
    "secrets_in",
    "needs",
    "auto_commit",
    "resolved_image",
    "limits",
    "job_terms",
    "sources",
    "created_by",
    "forked_from",
)
"""Columns of a workspace that a rerun of its job takes over: what was asked for, not what became of it."""
_OF_SESSION = ("id", "workspace_id", "executor", "executor_config", "profile")
_NOT_OF_REPO = {"workspace_id", "base_commit", "mirror_path", "copied_files"}


def rerun(connection: Connection, run_id: UUID, source: From, principal: Principal, settings: Settings) -> UUID:
    """Repeat a run as a new run with the same title, labels and metadata.

    From the start, a job gets a new workspace of the same task, with the values that the old one was completed with;
    a follow-up or a further step is queued again in its workspace. From the failed step, that step and those that were
    to follow are queued in the workspace of the old run.

    Args:
        connection: one transaction of `Database`.
        run_id: a run that the caller may see.
        source: where the new run begins.
        principal: who asks; the new run is created by it.
        settings: settings of the server.

    Returns:
        Id of the new run.

    Raises:
        Conflict: `run_not_completed` or `run_succeeded` (it has no failed step), `project_deleted`, or the workspace
            accepts no such step (see `retry_execution`, `queue_step`).
        InvalidInput: the server does not allow the image any more.
    """
    if source == "start":
        new = _from_start(connection, run_id, principal, settings)
    else:
        new = _from_failed_step(connection, run_id, principal.owner)
    same: dict[Any, Any] = {
        column: select(column).where(Run.id == run_id).correlate(None).scalar_subquery()
        for column in (Run.title, Run.labels, Run.details)
    }
    connection.execute(update(Run).where(Run.id == new).values({**same, Run.rerun_of: run_id}))
    return new


def _from_failed_step(connection: Connection, run_id: UUID, by: str) -> UUID:
    workspace_id = connection.execute(select(Run.workspace_id).where(Run.id == run_id)).scalar_one()
    lane.lock(connection, workspace_id)  # the run does not end or go on from now on
    columns = (Run.session_id, Run.kind, Run.title, Run.status, Run.deciding_execution_id)
    row = connection.execute(select(*columns).where(Run.id == run_id)).one()
    if row.status != RunStatus.COMPLETED:
        raise Conflict(f"the run is {row.status}; cancel it first", code="run_not_completed")
    if row.deciding_execution_id is None:
        raise Conflict("the run succeeded, so it has no failed step; rerun it from its start", code="run_succeeded")
    new = create_run(connection, NewRun(workspace_id, row.session_id, RunKind(row.kind), row.title, by))
    retry_execution(connection, row.deciding_execution_id, by, run_agent_again=True, run_id=new)
    return new


def _from_start(connection: Connection, run_id: UUID, principal: Principal, settings: Settings) -> UUID:
    kind, workspace_id = connection.execute(select(Run.kind, Run.workspace_id).where(Run.id == run_id)).one()
    # A job that goes on from a failed step begins with that step: its start is the first clone of the workspace.
    job = kind == RunKind.JOB
    of_it = (E.workspace_id == workspace_id) & (E.run_reason == RunReason.CLONE) if job else E.run_id == run_id
    first = select(E).where(of_it).order_by(E.created_at, E.id).limit(1)
    row = ExecutionRow.from_row(connection.execute(first).mappings().one())
    step = row.action.step
    if isinstance(step, CloneStep):
        return _new_attempt(connection, row, principal, settings)
    if isinstance(step, AgentStep) and step.follow_up:
        new = add_follow_up(connection, row.session_id, step.prompt, principal, with_tags=True)
    else:
        session_id = row.session_id
        if isinstance(step, AgentStep):
            session_id = sessions.open_session(connection, row.workspace_id, step.executor)
        lane.lock(connection, row.workspace_id)
        refuse_repetition(connection, row.workspace_id, step)
        new = queue_step(connection, row.workspace_id, Action(step), principal, session_id=session_id)
        note_repetition(connection, step, new)
    return connection.execute(select(Run.id).join(E, E.run_id == Run.id).where(E.id == new)).scalar_one()


def _new_attempt(connection: Connection, first: ExecutionRow, principal: Principal, settings: Settings) -> UUID:
    """Make a new workspace of the same task for the chain that begins with ``first``, and queue the chain."""
    found = select(W.name, W.resolved_image, Project.deleted_at).join(Task, Task.id == W.task_id)
    found = found.join(Project, Project.id == Task.project_id).where(W.id == first.workspace_id)
    old = connection.execute(found.with_for_update(read=True, of=Project)).one()
    if old.deleted_at is not None:
        raise Conflict("the project was deleted; start a new run", code="project_deleted")
    check_allowed(old.resolved_image, settings.allowed_images)
    workspace_id, session_id = uuid4(), uuid4()
    title = old.name or "untitled"
    _copy_workspace(
        connection, first.workspace_id, workspace_id, branch_name(settings.branch_prefix, workspace_id, title)
    )
    connection.execute(insert(Lane).values(workspace_id=workspace_id))
    session = select(
        literal(session_id), literal(workspace_id), Session.executor, Session.executor_config, Session.profile
    )
    session = session.where(Session.id == first.session_id)
    connection.execute(insert(Session).from_select(_OF_SESSION, session))
    payload = {"image": old.resolved_image, "title": title}
    subject = operations.of_workspace(workspace_id)
    operations.record(connection, OperationKind.WORKSPACE_CREATE, subject, EventKind.WORKSPACE_CREATED, payload)
    level = connection.scalar(select(Run.priority).where(Run.id == first.run_id))
    priority = Priority.NORMAL if level is None else list(Priority)[level]
    new = NewRun(workspace_id, session_id, RunKind.JOB, title, principal.owner, priority=priority)
    run_id = create_run(connection, new)
    group = NewGroup(session_id, workspace_id, [first.action], principal.owner, run_id)
    send_after_commit(connection, create_group(connection, group))
    return run_id


def _copy_workspace(connection: Connection, old: UUID, new: UUID, branch: str) -> None:
    """Insert a workspace with what was asked of another one: image, limits, repos, environment and secrets."""
    columns: dict[str, Any] = {"id": literal(new), "branch": literal(branch), "created_at": func.now()}
    columns |= {name: getattr(W, name) for name in _OF_WORKSPACE}
    # The recorded state that a fork starts from is on its node alone.
    columns["node_id"] = case((W.forked_from.is_not(None), W.node_id))
    connection.execute(insert(W).from_select(list(columns), select(*columns.values()).where(W.id == old)))
    for table in (WorkspaceRepo, WorkspaceEnvironment, WorkspaceSecret):
        names = [column.name for column in table.__table__.columns if column.name not in _NOT_OF_REPO]
        kept = select(literal(new), *(getattr(table, name) for name in names)).where(table.workspace_id == old)
        connection.execute(insert(table).from_select(["workspace_id", *names], kept))
