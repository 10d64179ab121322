"""The end of the deletion of a workspace: nothing of it is left on its node."""

from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.store import events, operations
from relay_core.store.schema.tables import Event


def note_removal(connection: Connection, workspace_id: UUID, node_id: str) -> None:
    """Record that the container and the files of a deleted workspace are gone; this ends the deletion.

    Nothing is recorded a second time.
    """
    kind = EventKind.WORKSPACE_REMOVED
    recorded = select(Event.id).where(Event.workspace_id == workspace_id, Event.kind == kind).limit(1)
    if end_deletion(connection, workspace_id, node_id) or connection.scalar(recorded) is not None:
        return
    events.append(connection, workspace_id, kind, {"node_id": node_id})  # an earlier version of Relay has deleted it


def end_deletion(connection: Connection, workspace_id: UUID, node_id: str | None) -> bool:
    """End the deletion of a workspace of which nothing is left.

    Args:
        connection: one transaction.
        workspace_id: a deleted workspace.
        node_id: its node; None: it never had one.

    Returns:
        Whether the deletion had not ended before.
    """
    subject = operations.of_workspace(workspace_id)
    open_one = operations.open_of(connection, [OperationKind.WORKSPACE_DELETE], subject)
    payload = {"node_id": node_id}
    return open_one is not None and operations.append(
        connection, open_one, EventKind.WORKSPACE_REMOVED, payload, terminal=True
    )
