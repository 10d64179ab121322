"""Compares a workspace's delegations with what is known of its children, before anything is started in it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Interval, RowMapping, bindparam, exists, func, select, update

from relay_core.domain.child_sight import Child, ReclaimReason, Sight, judge
from relay_core.domain.events import EventKind
from relay_core.domain.nodes import Bounds
from relay_core.domain.scope import LIVE, DelegationState
from relay_core.domain.vocabulary import ACTIVE_ATTACHMENTS, AttachmentState, Liveness, WorkspaceState
from relay_core.store.delegations import records, scopes
from relay_core.store.schema.tables import NodeAttachment, RuntimeNode, ScopeDelegation, Workspace

A, D = NodeAttachment, ScopeDelegation
_DETACHED = (
    exists().where(A.node_id == RuntimeNode.node_id, A.state == AttachmentState.OFFLINE)
    & ~exists().where(A.node_id == RuntimeNode.node_id, A.state.in_(ACTIVE_ATTACHMENTS))
    & func.coalesce(RuntimeNode.last_heartbeat_at > func.now() - bindparam("heard_within", type_=Interval), False)
)
_GIVEN = (
    select(
        *D.__table__.columns,
        Workspace.id.label("child"),
        Workspace.state.label("child_state"),
        (Workspace.deleted_at.is_not(None) | Workspace.archived).label("child_gone"),
        func.coalesce(Workspace.idle_stopped, False).label("child_resumes"),
        RuntimeNode.liveness,
        _DETACHED.label("child_detached"),
        ((D.state == DelegationState.RESERVED) & (D.expires_at <= func.now())).label("expired"),
    )
    .outerjoin(Workspace, Workspace.id == D.child_workspace_id)
    .outerjoin(RuntimeNode, RuntimeNode.node_id == Workspace.node_id)
    .where(D.state.in_(LIVE))
    .order_by(D.created_at, D.id)
)


def containers_here(connection: Connection, workspace_id: UUID, node_id: str | None) -> dict[UUID, str]:
    """Return the containers of the workspaces that hold leases of a workspace and are on a node, by workspace id."""
    rows = connection.execute(
        select(Workspace.id, Workspace.container_id)
        .join(D, D.child_workspace_id == Workspace.id)
        .where(D.parent_workspace_id == workspace_id, D.state.in_(LIVE))
        .where(Workspace.node_id == node_id, Workspace.container_id.is_not(None))
    )
    return {row.id: row.container_id for row in rows}


def reconcile(connection: Connection, workspace_id: UUID, sights: Mapping[UUID, Sight], bounds: Bounds) -> None:
    """Adopt the lease that the workspace holds, and reclaim those that its children cannot use any more.

    It may be repeated at any time; what has ended stays as it is.

    Args:
        connection: one transaction.
        workspace_id: the workspace in which something is to be started.
        sights: what the engine of this node says about containers of its children, by workspace.
        bounds: say after which silence a node is offline.

    Raises:
        Conflict: `delegation_corrupt`: a record cannot be read; nothing is changed.
    """
    scopes.lock(connection, workspace_id)
    scopes.effective(connection, workspace_id)
    scopes.own_scope(connection, workspace_id)
    _adopt(connection, workspace_id, bounds)
    judge_children(connection, workspace_id, sights, bounds)


def judge_children(connection: Connection, workspace_id: UUID, sights: Mapping[UUID, Sight], bounds: Bounds) -> None:
    """Reclaim the leases that the children of a workspace cannot use any more. The caller holds `scopes.lock`.

    Args:
        connection: one transaction.
        workspace_id: the workspace that has given the leases.
        sights: as for `reconcile`; without them, what Postgres knows of the children counts.
        bounds: as for `reconcile`.
    """
    # A reclaim may bring further leases to the workspace, those of the child that is gone.
    while [row for row in _given(connection, workspace_id, bounds) if _judged(connection, row, sights)]:
        pass


def _given(connection: Connection, workspace_id: UUID, bounds: Bounds) -> list[RowMapping]:
    found = connection.execute(_GIVEN.where(D.parent_workspace_id == workspace_id), _heard(bounds))
    return list(found.mappings())


def _heard(bounds: Bounds) -> dict[str, timedelta]:
    """Return the age of the last heartbeat above which a node is silent, detached or not."""
    return {"heard_within": timedelta(seconds=bounds.offline_seconds)}


def _adopt(connection: Connection, workspace_id: UUID, bounds: Bounds) -> None:
    reserved = _GIVEN.where(D.child_workspace_id == workspace_id, D.state == DelegationState.RESERVED)
    row = connection.execute(reserved, _heard(bounds)).mappings().one_or_none()
    if row is None:
        return
    if row["expired"]:
        records.reclaim(connection, row, ReclaimReason.RESERVATION_EXPIRED)
        return
    taken = update(D).where(D.id == row["id"]).values(state=DelegationState.ACTIVE, adopted_at=func.now())
    connection.execute(taken)
    for told in (row["parent_workspace_id"], workspace_id):
        records.tell(connection, told, EventKind.DELEGATION_ADOPTED, row)


def _judged(connection: Connection, row: RowMapping, sights: Mapping[UUID, Sight]) -> bool:
    """Carry out what is known of one child; return whether its lease was reclaimed."""
    verdict = judge(_child(row, sights))
    if verdict.reclaim is not None:
        records.reclaim(connection, row, verdict.reclaim)
        return True
    if verdict.unverified != row["unverified"]:
        connection.execute(update(D).where(D.id == row["id"]).values(unverified=verdict.unverified))
    return False


def _child(row: RowMapping, sights: Mapping[UUID, Sight]) -> Child:
    def word(of: Any, text: str | None) -> Any:
        return None if text is None else of(text)

    return Child(
        exists=row["child"] is not None and not row["child_gone"],
        state=word(WorkspaceState, row["child_state"]),
        liveness=word(Liveness, row["liveness"]),
        detached=row["child_detached"],
        expired=row["expired"],
        resumes=row["child_resumes"],
        sight=sights.get(row["child_workspace_id"]),
    )
