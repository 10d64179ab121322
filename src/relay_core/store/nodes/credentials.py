"""Credentials of nodes: tokens with which a node may speak about itself, and about nothing else."""

from sqlalchemy import Connection, select

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.vocabulary import Scope
from relay_core.store import tokens
from relay_core.store.schema.tables import RuntimeNode, Token
from relay_core.store.tokens import Principal, TokenInfo


def owner_of(node_id: str) -> str:
    """Return the owner of a node's tokens; no project or workspace has such an owner."""
    return f"node/{node_id}"


def may_speak(principal: Principal, node_id: str) -> bool:
    """Return whether a principal may carry out the operations of a node: the node itself, and administrators."""
    if Scope.ADMIN in principal.scopes:
        return True
    return Scope.NODE in principal.scopes and principal.owner == owner_of(node_id)


def create(connection: Connection, node_id: str, by: str) -> tuple[TokenInfo, str]:
    """Make a credential of a node; return its row and its text, which is stored nowhere.

    Raises:
        NotFound: there is no such node.
        Conflict: `runtimenode.attach_revoked`: it is revoked.
    """
    found = select(RuntimeNode.revoked_at).where(RuntimeNode.node_id == node_id).with_for_update(key_share=True)
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotFound(f"there is no node {node_id}")
    if row.revoked_at is not None:
        raise Conflict(f"node {node_id} is revoked: restore it first", code="runtimenode.attach_revoked")
    return tokens.create(connection, name=f"node {node_id}", owner=owner_of(node_id), scopes=[Scope.NODE], by=by)


def revoke_all(connection: Connection, node_id: str, by: str | None) -> None:
    """Revoke all credentials of a node."""
    valid = select(Token.id).where(Token.owner == owner_of(node_id), Token.revoked_at.is_(None)).order_by(Token.id)
    for token_id in connection.scalars(valid).all():
        tokens.revoke(connection, token_id, by)
