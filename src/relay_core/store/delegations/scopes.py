"""Reads leases, and derives from them what a workspace may write."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, text

from relay_core.domain import scope
from relay_core.domain.scope import DelegationState, Lease, Rule, Scope
from relay_core.store.schema.tables import ScopeDelegation, Task, Workspace, WorkspaceRepo, WorkspaceScope

D = ScopeDelegation
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('relay.delegations', 0) # hashtextextended(:project, 0))")


@dataclass(frozen=True)
class OwnScope:
    """The rules that a client set for a workspace."""

    delegable: tuple[Rule, ...] | None = None
    """Regions that it may lease; None: none."""
    denied: tuple[Rule, ...] = ()


def lock(connection: Connection, workspace_id: UUID) -> None:
    """Let one transaction at a time change the delegations of the workspace's project; the lock ends with it."""
    project = select(Task.project_id).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == workspace_id)
    connection.execute(_LOCK, {"project": str(connection.scalar(project))})


def live() -> ColumnElement[bool]:
    """Return the condition of delegations that hold their scope: a reservation whose time is over does not."""
    return or_(D.state == DelegationState.ACTIVE, and_(D.state == DelegationState.RESERVED, D.expires_at > func.now()))


def as_lease(row: Any) -> Lease:
    """Return a row as a lease.

    Raises:
        Conflict: `delegation_corrupt`.
    """
    rules = scope.rules_from_json(row["rules"], f"delegation {row['id']}")
    return Lease(row["id"], row["parent_workspace_id"], row["child_workspace_id"], rules)


def leased(connection: Connection, workspace_id: UUID) -> list[Lease]:
    """Return the live leases that a workspace has given to others."""
    return _leases(connection, D.parent_workspace_id == workspace_id)


def own_scope(connection: Connection, workspace_id: UUID) -> OwnScope:
    """Return what was set for a workspace.

    Raises:
        Conflict: `delegation_corrupt`.
    """
    columns = (WorkspaceScope.delegable, WorkspaceScope.denied)
    row = connection.execute(select(*columns).where(WorkspaceScope.workspace_id == workspace_id)).one_or_none()
    if row is None:
        return OwnScope()
    of = f"the scope of workspace {workspace_id}"
    delegable = None if row.delegable is None else scope.rules_from_json(row.delegable, of)
    return OwnScope(delegable, scope.rules_from_json(row.denied, of))


def concern(connection: Connection, workspace_id: UUID) -> bool:
    """Return whether a workspace has, had or has given a delegation, or was given a scope."""
    given = or_(D.parent_workspace_id == workspace_id, D.child_workspace_id == workspace_id)
    found = or_(exists().where(WorkspaceScope.workspace_id == workspace_id), exists().where(given))
    return bool(connection.scalar(select(found)))


def effective(connection: Connection, workspace_id: UUID) -> Scope:
    """Return what a workspace may write.

    Raises:
        Conflict: `delegation_corrupt`: a record that decides about it cannot be read.
    """
    leases = _leases(connection, or_(D.parent_workspace_id == workspace_id, D.child_workspace_id == workspace_id))
    was_delegated = connection.scalar(select(D.id).where(D.child_workspace_id == workspace_id)) is not None
    denied = own_scope(connection, workspace_id).denied
    return scope.effective(workspace_id, leases, denied, was_delegated=was_delegated)


def ancestors(connection: Connection, workspace_id: UUID) -> list[UUID]:
    """Return the workspaces above one in the tree of live leases, the nearest first."""
    found: list[UUID] = []
    at = workspace_id
    while (above := _parent(connection, at)) is not None and above not in found:
        found.append(above)
        at = above
    return found


def repo_names(connection: Connection, workspace_id: UUID) -> dict[UUID, str]:
    """Return the names of a workspace's repositories by id."""
    rows = connection.execute(
        select(WorkspaceRepo.repo_id, WorkspaceRepo.name).where(WorkspaceRepo.workspace_id == workspace_id)
    )
    return {row.repo_id: row.name for row in rows}


def _parent(connection: Connection, workspace_id: UUID) -> UUID | None:
    return connection.scalar(select(D.parent_workspace_id).where(D.child_workspace_id == workspace_id, live()))


def _leases(connection: Connection, which: ColumnElement[bool]) -> list[Lease]:
    statement = select(D.id, D.parent_workspace_id, D.child_workspace_id, D.rules).where(which, live())
    return [as_lease(row) for row in connection.execute(statement.order_by(D.created_at, D.id)).mappings()]
