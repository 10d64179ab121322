"""Stops and resumes workspaces: a request is stored in the row (`requested_state`), and the node carries it out.

While a request is stored, and while the workspace is stopped, no step of the workspace is claimed; queued steps wait.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, exists, func, select, text, update

from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import RunReason, Status, WorkspaceState
from relay_core.store import operations
from relay_core.store.executions.kill import kill
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces import condition, lane, preparation
from relay_core.store.workspaces.condition import WorkspaceCondition

E = ExecutionProcess
_KINDS = {
    WorkspaceState.STOPPED: OperationKind.WORKSPACE_STOP,
    WorkspaceState.RUNNING: OperationKind.WORKSPACE_RESUME,
}
"""Kind of the operation that leads to a requested state."""
_DUE = text(
    """
    SELECT w.id, w.container_id, w.requested_state FROM workspaces w
    WHERE w.node_id = :node AND w.requested_state IS NOT NULL AND w.deleted_at IS NULL AND w.remake_container = :remake
      AND NOT EXISTS (
        SELECT 1 FROM execution_processes e WHERE e.workspace_id = w.id AND e.status = 'running')
    """
)


def request_stop(connection: Connection, workspace_id: UUID, by: str) -> None:
    """Request that a workspace is stopped: kill its running executions, dev servers too, then stop its container.

    Queued executions stay queued, and files stay. A workspace that is stopped, or for which a stop is requested
    already, is left as it is.

    Args:
        connection: one transaction of `Database`.
        workspace_id: the workspace.
        by: who asks; stored with the event and the kills.

    Raises:
        Conflict: `workspace_starting`, `workspace_failed`.
    """
    found = _locked(connection, workspace_id)
    _refuse_unprepared(found, "stopped")
    if found.idle_stopped:  # from now on it is stopped because a client asked for it
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(idle_stopped=False))
    if (found.requested_state or found.state) is WorkspaceState.STOPPED:
        return
    _request(connection, workspace_id, WorkspaceState.STOPPED, by)
    running = select(E.id).where(E.workspace_id == workspace_id, E.status == Status.RUNNING).order_by(E.id)
    kill(connection, list(connection.scalars(running)), by)


def request_resume(connection: Connection, workspace_id: UUID, by: str, *, also_archived: bool = False) -> None:
    """Request that the container of a stopped workspace is started again; then queued executions can start.

    It is the same container as before. A workspace that runs, or for which this is requested already, is left as it is.
    If a stop is requested that the node has not carried out yet, this replaces it.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        by: who asks; stored with the event.
        also_archived: whether an archived workspace is resumed, for an archive script.

    Raises:
        Conflict: `workspace_starting`, `workspace_failed`, `workspace_archived`.
    """
    found = _locked(connection, workspace_id)
    _refuse_unprepared(found, "resumed")
    if found.archived and not also_archived:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
    if (found.requested_state or found.state) is WorkspaceState.RUNNING:
        return
    _request(connection, workspace_id, WorkspaceState.RUNNING, by)


@dataclass(frozen=True)
class StateRequest:
    """A stop or a resume that a node has to carry out."""

    workspace_id: UUID
    container_id: str
    state: WorkspaceState
    """The requested state, `stopped` or `running`."""
    remake: bool = False
    """Whether its container is to be made anew."""


def due_requests(connection: Connection, node_id: str) -> list[StateRequest]:
    """Return the requests that a node can carry out now: those of workspaces without a running execution.

    Those of workspaces that need a new container are left to `due_remakes`.
    """
    return _due(connection, node_id, remake=False)


def due_remakes(connection: Connection, node_id: str) -> list[StateRequest]:
    """Return the requests of a node's workspaces whose container is to be made anew: it does not exist any more."""
    return _due(connection, node_id, remake=True)


def _due(connection: Connection, node_id: str, *, remake: bool) -> list[StateRequest]:
    values = {"node": node_id, "remake": remake}
    rows = connection.execute(_DUE, values)
    return [StateRequest(row.id, row.container_id, WorkspaceState(row.requested_state), remake) for row in rows]


def is_due(connection: Connection, request: StateRequest) -> bool:
    """Return whether the request is still stored, for the same container, and no execution of the workspace runs."""
    due = select(Workspace.id).where(
        Workspace.id == request.workspace_id,
        Workspace.requested_state == request.state,
        Workspace.container_id.is_not_distinct_from(request.container_id),
        Workspace.remake_container == request.remake,
        Workspace.deleted_at.is_(None),
        ~exists().where(E.workspace_id == request.workspace_id, E.status == Status.RUNNING),
    )
    return connection.scalar(due) is not None


def settle(connection: Connection, request: StateRequest) -> None:
    """Record that a node has carried out a request; do nothing if another state was requested meanwhile.

    After a resume, the messages of executions that may start are sent after the commit.
    """
    lane.lock(connection, request.workspace_id)
    if not _answered(connection, request):
        return
    open_one = _open_request(connection, request.workspace_id)
    preparation.set_state(connection, request.workspace_id, request.state, operation_id=open_one)
    if request.state is WorkspaceState.RUNNING:
        send_due_steps(connection, request.workspace_id)


def give_up(connection: Connection, request: StateRequest, why: str) -> None:
    """Record that a request cannot be carried out: the workspace becomes `failed` with the error ``why``.

    Nothing happens if another state was requested meanwhile.
    """
    if _answered(connection, request):
        open_one = _open_request(connection, request.workspace_id)
        failed = WorkspaceState.FAILED
        preparation.set_state(connection, request.workspace_id, failed, why, operation_id=open_one)


def send_due_steps(connection: Connection, workspace_id: UUID) -> None:
    """Send messages after the commit for the executions of a running workspace that could start.

    They are the first step group in the lane's queue, and queued dev servers. The claim decides whether each really
    starts.
    """
    servers = select(E.id).where(
        E.workspace_id == workspace_id, E.status == Status.QUEUED, E.run_reason == RunReason.DEV_SERVER
    )
    send_after_commit(connection, [*lane.head(connection, workspace_id), *connection.scalars(servers)])


def _locked(connection: Connection, workspace_id: UUID) -> WorkspaceCondition:
    lane.lock(connection, workspace_id)
    return condition.lock(connection, workspace_id)


def _refuse_unprepared(found: WorkspaceCondition, done: str) -> None:
    if found.state is WorkspaceState.STARTING:
        message = f"the workspace is still being prepared and cannot be {done}; to end that, kill its clone execution"
        raise Conflict(message, code="workspace_starting")
    if found.state is WorkspaceState.FAILED:
        message = f"the workspace has failed and cannot be {done} ({found.error_reason}); retry prepares it again"
        raise Conflict(message, code="workspace_failed")


def _request(connection: Connection, workspace_id: UUID, state: WorkspaceState, by: str) -> None:
    drop_request(connection, workspace_id, f"{state} was requested after it")
    workspace = update(Workspace).where(Workspace.id == workspace_id)
    connection.execute(workspace.values(requested_state=state, idle_stopped=False, updated_at=func.now()))
    operation_id = operations.begin(connection, _KINDS[state], operations.of_workspace(workspace_id))
    if operation_id is not None:
        payload = {"state": state, "by": by}
        operations.append(connection, operation_id, EventKind.WORKSPACE_STATE_REQUESTED, payload)


def drop_request(connection: Connection, workspace_id: UUID, why: str) -> None:
    """End the operation of a stop or resume that will not be carried out; do nothing if there is none.

    Args:
        connection: one transaction, which holds the workspace's lane.
        workspace_id: the workspace.
        why: the reason, as a text for people.
    """
    open_one = _open_request(connection, workspace_id)
    if open_one is not None:
        payload = {"why": why}
        operations.append(connection, open_one, EventKind.WORKSPACE_REQUEST_DROPPED, payload, terminal=True)


def _open_request(connection: Connection, workspace_id: UUID) -> UUID | None:
    return operations.open_of(connection, tuple(_KINDS.values()), operations.of_workspace(workspace_id))


def _answered(connection: Connection, request: StateRequest) -> bool:
    mine = (Workspace.id == request.workspace_id) & (Workspace.requested_state == request.state)
    return connection.execute(update(Workspace).where(mine).values(requested_state=None)).rowcount == 1
