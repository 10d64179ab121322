"""Ends operations that a node has to finish and that has been silent for so long that it will hardly return.

The facts stay as they are: if the node returns, it removes what it has, and says so with an event of its own.
"""

from sqlalchemy import Connection, text

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import Reason
from relay_core.store import operations

MOST_AT_ONCE = 200
"""Most operations that one call ends."""
_LEFT = text(
    """
    WITH gone AS (
      SELECT node_id FROM runtime_nodes
      WHERE liveness = 'offline' AND last_heartbeat_at < now() - make_interval(secs => :silent)),
    undone AS (
      SELECT o.id, o.kind, g.node_id FROM operations o JOIN workspaces w ON w.id = o.workspace_id
      JOIN gone g ON g.node_id = w.node_id
      WHERE o.completed_at IS NULL AND o.kind IN ('workspace.delete', 'workspace.restore', 'workspace.purge')
      UNION
      SELECT o.id, o.kind, g.node_id FROM operations o
      JOIN events e ON e.operation_id = o.id AND e.sequence = 1
      JOIN gone g ON g.node_id = e.payload ->> 'node_id' WHERE o.completed_at IS NULL AND o.kind = 'orphan')
    SELECT id, kind, node_id FROM undone ORDER BY id LIMIT :most
    """
)
_ENDS = {
    OperationKind.WORKSPACE_DELETE: EventKind.WORKSPACE_NOT_REMOVED,
    OperationKind.WORKSPACE_RESTORE: EventKind.WORKSPACE_NOT_RESTORED,
    OperationKind.WORKSPACE_PURGE: EventKind.WORKSPACE_NOT_REMOVED,
    OperationKind.ORPHAN: EventKind.ORPHAN_NOT_REMOVED,
}


def give_up(connection: Connection, silent_seconds: float) -> int:
    """End what nodes have left undone: acts on deleted workspaces, and operations of orphan containers.

    Args:
        connection: one transaction.
        silent_seconds: silence of an offline node after which it counts as gone.

    Returns:
        How many operations were ended.
    """
    ended = 0
    for row in connection.execute(_LEFT, {"silent": silent_seconds, "most": MOST_AT_ONCE}).all():
        payload = {"node_id": row.node_id, "reason": Reason.NODE_LOST}
        kind = _ENDS[OperationKind(row.kind)]
        ended += operations.append(connection, row.id, kind, payload, terminal=True)
    return ended
