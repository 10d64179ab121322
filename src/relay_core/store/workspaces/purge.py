"""The removal of a workspace's files for good, as an operation: from the request to the word of the node."""

from uuid import UUID

from sqlalchemy import Connection, update

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import PurgeReason
from relay_core.store import operations
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces.delete import on_a_node

W = Workspace


def begin(connection: Connection, workspace_id: UUID, by: str) -> None:
    """Store that nothing of a deleted workspace is to be kept, and who asked for it. The caller holds the lane."""
    connection.execute(update(W).where(W.id == workspace_id).values(purge_why=PurgeReason.REQUEST))
    subject = operations.of_workspace(workspace_id)
    operation_id = operations.begin(connection, OperationKind.WORKSPACE_PURGE, subject)
    if operation_id is None:
        return
    operations.append(connection, operation_id, EventKind.WORKSPACE_PURGE_REQUESTED, {"by": by})
    if not on_a_node(connection, workspace_id):
        gone = {"node_id": None, "why": PurgeReason.REQUEST}
        operations.append(connection, operation_id, EventKind.WORKSPACE_PURGED, gone, terminal=True)
