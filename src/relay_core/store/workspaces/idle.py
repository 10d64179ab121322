"""Workspaces that Relay stopped because nothing happened in them (`expiry`): the next step starts them again.

A workspace that a client stopped is not started by a step: it stays stopped until a client resumes it.
"""

from sqlalchemy import Connection

from relay_core.domain.errors import Conflict
from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.condition import WorkspaceCondition

BY = "relay: it was idle"
"""The one who asks for such a stop, archives or deletes, in events."""


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
