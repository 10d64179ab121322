"""Revocation of nodes: a revoked node starts no execution and takes none over, from the commit on.

What its workers run goes on to its end; the next step of the chain waits. If the worker of a running execution ends,
no other worker of the node takes the execution over, and the reaper ends it as lost. The node's workers still send
heartbeats, and remove what nothing needs any more.
"""

from sqlalchemy import Connection, func, select, update

from relay_core.domain.errors import NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.store import operations
from relay_core.store.nodes import attachments, credentials, runtime_nodes
from relay_core.store.nodes.runtime_nodes import ListedNode
from relay_core.store.schema.tables import RuntimeNode
from relay_core.store.transaction import admit_next

N = RuntimeNode


def revoke(connection: Connection, node_id: str, by: str | None = None) -> ListedNode:
    """Revoke a node, its attachments and its credentials; if it is revoked already, nothing changes.

    The lock conflicts with the one that each claim and adoption takes: those before it are waited for, those after it
    are refused.

    Args:
        connection: one transaction, which locks nothing before this.
        node_id: the node.
        by: who asks; told by the event.

    Raises:
        NotFound: there is no such node.
    """
    if not _lock(connection, node_id, for_claims=True):
        connection.execute(update(N).where(N.node_id == node_id).values(draining=True, revoked_at=func.now()))
        attachments.end_all(connection, node_id)
        credentials.revoke_all(connection, node_id, by)
        subject, payload = attachments.subject_of(node_id), {"node_id": node_id, "by": by}
        operations.record(connection, OperationKind.NODE_REVOKE, subject, EventKind.NODE_REVOKED, payload)
    return runtime_nodes.listed(connection, node_id)


def restore(connection: Connection, node_id: str, by: str | None = None) -> ListedNode:
    """Let a revoked node take work again, new workspaces included; if it is not revoked, nothing changes.

    Its credentials stay revoked: it needs a new one.

    Raises:
        NotFound: there is no such node.
    """
    if _lock(connection, node_id, for_claims=False):
        connection.execute(update(N).where(N.node_id == node_id).values(draining=False, revoked_at=None))
        attachments.restore(connection, node_id)
        subject, payload = attachments.subject_of(node_id), {"node_id": node_id, "by": by}
        operations.record(connection, OperationKind.NODE_RESTORE, subject, EventKind.NODE_RESTORED, payload)
        admit_next(connection)
    return runtime_nodes.listed(connection, node_id)


def _lock(connection: Connection, node_id: str, *, for_claims: bool) -> bool:
    """Lock a node, and return whether it is revoked.

    Args:
        connection: the transaction.
        node_id: the node.
        for_claims: whether claims wait, too. A transaction that admits runs may not make them wait: the admission
            writes rows that refer to nodes.
    """
    found = select(N.revoked_at).where(N.node_id == node_id).with_for_update(key_share=not for_claims)
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotFound(f"there is no node {node_id}")
    return row.revoked_at is not None
