"""Workspaces in which nothing happens: Relay stops their containers, and starts them again for the next step.

A workspace that a client stopped is not started by a step: it stays stopped until a client resumes it.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, text, update

from relay_core.domain.errors import Conflict
from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import lane, stop_resume
from relay_core.store.workspaces.condition import WorkspaceCondition

BY = "relay: it was idle"
"""The one who asks for such a stop, in its event."""
MOST_AT_ONCE = 100
"""Most workspaces of one call; the next call finds the others."""
_IDLE = text(
    """
    SELECT w.id FROM workspaces w
    WHERE w.state = 'running' AND w.requested_state IS NULL AND w.deleted_at IS NULL AND NOT w.pinned
      AND w.updated_at < now() - make_interval(secs => :idle)
      AND (:one IS NULL OR w.id = :one)
      AND NOT EXISTS (
        SELECT 1 FROM execution_processes e
        WHERE e.workspace_id = w.id AND (e.status IN ('queued', 'running') OR e.leftover_on IS NOT NULL
          OR e.completed_at > now() - make_interval(secs => :idle)))
    ORDER BY w.updated_at LIMIT :most
    """
).bindparams(bindparam("one", type_=Workspace.id.type))


def idle(connection: Connection, idle_seconds: float) -> Sequence[UUID]:
    """Return running workspaces that have had no execution, and no change, for so long; pinned ones are left out.

    A dev server that runs is an execution, so its workspace is not idle.
    """
    values = {"idle": idle_seconds, "one": None, "most": MOST_AT_ONCE}
    return connection.scalars(_IDLE, values).all()


def stop(connection: Connection, workspace_id: UUID, idle_seconds: float) -> bool:
    """Request that the container of an idle workspace is stopped; its files stay.

    Args:
        connection: one transaction of `Database`.
        workspace_id: from `idle`.
        idle_seconds: as there; checked again, under the lock of the lane.

    Returns:
        Whether it is still idle, so that a stop was requested.
    """
    lane.lock(connection, workspace_id)
    if connection.scalar(_IDLE, {"idle": idle_seconds, "one": workspace_id, "most": 1}) is None:
        return False
    stop_resume.request_stop(connection, workspace_id, BY)
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(idle_stopped=True))
    return True


def wake(connection: Connection, found: WorkspaceCondition, by: str, reason: RunReason) -> bool:
    """Request that a workspace which was stopped because it was idle runs again, for a step that is being queued.

    An archived workspace is started for its archive scripts only.

    Args:
        connection: one transaction, which holds the lane of the workspace.
        found: the workspace.
        by: who asks for the step.
        reason: kind of the step.

    Returns:
        Whether the workspace was stopped because it was idle.

    Raises:
        Conflict: `workspace_stopped`: an archive script in an archived workspace that a client stopped. It cannot be
            resumed, so the script would wait for ever.
    """
    archives = reason is RunReason.ARCHIVE_SCRIPT
    if found.idle_stopped and found.stopped and (archives or not found.archived):
        stop_resume.request_resume(connection, found.id, by, also_archived=archives)
        return True
    if archives and found.archived and (found.requested_state or found.state) is WorkspaceState.STOPPED:
        message = "the workspace is archived and stopped; take it out of the archive and resume it, then run the script"
        raise Conflict(message, code="workspace_stopped")
    return False
