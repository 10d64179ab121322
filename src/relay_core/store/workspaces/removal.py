"""The end of the deletion of a workspace: nothing of it is left on its node, or its files are in quarantine."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import PurgeReason
from relay_core.store import events, operations
from relay_core.store.schema.tables import Event


def note_removal(connection: Connection, workspace_id: UUID, node_id: str, kept_until: datetime | None = None) -> None:
    """Record that the container and the files of a deleted workspace are gone; this ends the deletion.

    Nothing is recorded a second time.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        node_id: its node.
        kept_until: until when the files can be restored; None: they are gone for good.
    """
    kind = EventKind.WORKSPACE_REMOVED
    recorded = select(Event.id).where(Event.workspace_id == workspace_id, Event.kind == kind).limit(1)
    if end_deletion(connection, workspace_id, node_id, kept_until) or connection.scalar(recorded) is not None:
        return
    # an earlier version of Relay has deleted it, or its node has put it away a second time
    events.append(connection, workspace_id, kind, _payload(node_id, kept_until))


def end_deletion(
    connection: Connection, workspace_id: UUID, node_id: str | None, kept_until: datetime | None = None
) -> bool:
    """End the deletion of a workspace of which nothing is left, or whose files are in quarantine.

    Args:
        connection: one transaction.
        workspace_id: a deleted workspace.
        node_id: its node; None: it never had one.
        kept_until: until when the files can be restored; None: there are none.

    Returns:
        Whether the deletion had not ended before.
    """
    if kept_until is None:
        end_purge(connection, workspace_id, node_id)
    subject = operations.of_workspace(workspace_id)
    open_one = operations.open_of(connection, [OperationKind.WORKSPACE_DELETE], subject)
    payload = _payload(node_id, kept_until)
    return open_one is not None and operations.append(
        connection, open_one, EventKind.WORKSPACE_REMOVED, payload, terminal=True
    )


def end_purge(
    connection: Connection, workspace_id: UUID, node_id: str | None, why: PurgeReason = PurgeReason.REQUEST
) -> bool:
    """End the operation of a client that asked for the removal of a workspace for good.

    Args:
        connection: one transaction.
        workspace_id: a deleted workspace of which nothing is left.
        node_id: its node; None: it never had one.
        why: why its files were removed.

    Returns:
        Whether there was such an operation.
    """
    subject = operations.of_workspace(workspace_id)
    asked = operations.open_of(connection, [OperationKind.WORKSPACE_PURGE], subject)
    payload = {"node_id": node_id, "why": why}
    return asked is not None and operations.append(
        connection, asked, EventKind.WORKSPACE_PURGED, payload, terminal=True
    )


def _payload(node_id: str | None, kept_until: datetime | None) -> dict[str, str | None]:
    return {"node_id": node_id, "kept_until": None if kept_until is None else kept_until.isoformat()}
