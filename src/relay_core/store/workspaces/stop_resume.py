"""Stopping and resuming a workspace: what is asked for is a word in its row, its node carries it out.

While the word is there, and while the workspace is stopped, no step of it is claimed; what is queued waits.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, RowMapping, exists, func, select, text, update

from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.message import QueueMessage
from relay_core.domain.vocabulary import RunReason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.workspaces import deletion, lane, workspace_rows
from relay_core.store.workspaces.deletion import Killed

E = ExecutionProcess


def request_stop(connection: Connection, workspace_id: UUID, by: str) -> Killed:
    """Kill what runs in a workspace, dev servers too, and have its container stopped; files stay.

    What is queued stays queued. Asking again, or for one that is stopped, changes nothing.

    Raises:
        Conflict: `workspace_starting`, `workspace_failed`.
    """
    row = _locked(connection, workspace_id)
    _refuse_unprepared(row, "stopped")
    if (row["requested_state"] or row["state"]) == WorkspaceState.STOPPED:
        return Killed()
    _request(connection, workspace_id, WorkspaceState.STOPPED, by)
    running = select(E.id).where(E.workspace_id == workspace_id, E.status == Status.RUNNING).order_by(E.id)
    return deletion.kill(connection, list(connection.scalars(running)), by)


def request_resume(connection: Connection, workspace_id: UUID, by: str) -> None:
    """Have a stopped workspace's container run again, the same one; then what is queued goes on.

    Asking again, or for one that runs, changes nothing; one whose stop is not carried out yet keeps running.

    Raises:
        Conflict: `workspace_starting`, `workspace_failed`, `workspace_archived`.
    """
    row = _locked(connection, workspace_id)
    _refuse_unprepared(row, "resumed")
    if row["archived"]:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
    if (row["requested_state"] or row["state"]) == WorkspaceState.RUNNING:
        return
    _request(connection, workspace_id, WorkspaceState.RUNNING, by)


@dataclass(frozen=True)
class Requested:
    """What a node was asked for."""

    workspace_id: UUID
    container_id: str
    state: WorkspaceState


def requested(connection: Connection, node_id: str) -> list[Requested]:
    """What this node was asked for and may do now: a stop waits until nothing runs any more."""
    rows = connection.execute(
        text(
            """
            SELECT w.id, w.container_id, w.requested_state FROM workspaces w
            WHERE w.node_id = :node AND w.requested_state IS NOT NULL AND w.deleted_at IS NULL
              AND NOT EXISTS (
                SELECT 1 FROM execution_processes e WHERE e.workspace_id = w.id AND e.status = 'running')
            """
        ),
        {"node": node_id},
    )
    return [Requested(row.id, row.container_id, WorkspaceState(row.requested_state)) for row in rows]


def is_due(connection: Connection, wanted: Requested) -> bool:
    """Whether it is still asked for and may be done now."""
    due = select(Workspace.id).where(
        Workspace.id == wanted.workspace_id,
        Workspace.requested_state == wanted.state,
        ~exists().where(E.workspace_id == wanted.workspace_id, E.status == Status.RUNNING),
    )
    return connection.scalar(due) is not None


def settle(connection: Connection, wanted: Requested) -> list[QueueMessage]:
    """Note that it is carried out, unless something else was asked for meanwhile: then that is due.

    Returns:
        Doorbells of what may start now.
    """
    lane.lock(connection, wanted.workspace_id)
    if not _answered(connection, wanted):
        return []
    workspace_rows.set_state(connection, wanted.workspace_id, wanted.state)
    return due_steps(connection, wanted.workspace_id) if wanted.state is WorkspaceState.RUNNING else []


def give_up(connection: Connection, wanted: Requested, why: str) -> None:
    """It cannot be carried out: the workspace has failed."""
    if _answered(connection, wanted):
        workspace_rows.set_state(connection, wanted.workspace_id, WorkspaceState.FAILED, why)


def due_steps(connection: Connection, workspace_id: UUID) -> list[QueueMessage]:
    """Doorbells of what could start in a workspace that runs (the claim decides): the lane's head, dev servers."""
    servers = select(E.id).where(
        E.workspace_id == workspace_id, E.status == Status.QUEUED, E.run_reason == RunReason.DEV_SERVER
    )
    head = lane.head(connection, workspace_id)
    return transitions.messages(connection, [*head, *connection.scalars(servers)])


def _locked(connection: Connection, workspace_id: UUID) -> RowMapping:
    lane.lock(connection, workspace_id)
    return connection.execute(select(Workspace).where(Workspace.id == workspace_id).with_for_update()).mappings().one()


def _refuse_unprepared(row: RowMapping, done: str) -> None:
    if row["state"] == WorkspaceState.STARTING:
        message = f"the workspace is still being prepared and cannot be {done}; to end that, kill its clone execution"
        raise Conflict(message, code="workspace_starting")
    if row["state"] == WorkspaceState.FAILED:
        message = f"the workspace has failed and cannot be {done} ({row['error_reason']}); retry prepares it again"
        raise Conflict(message, code="workspace_failed")


def _request(connection: Connection, workspace_id: UUID, state: WorkspaceState, by: str) -> None:
    workspace = update(Workspace).where(Workspace.id == workspace_id)
    connection.execute(workspace.values(requested_state=state, updated_at=func.now()))
    events.append(connection, workspace_id, EventKind.WORKSPACE_STATE_REQUESTED, {"state": state, "by": by})


def _answered(connection: Connection, wanted: Requested) -> bool:
    mine = (Workspace.id == wanted.workspace_id) & (Workspace.requested_state == wanted.state)
    return connection.execute(update(Workspace).where(mine).values(requested_state=None)).rowcount == 1
