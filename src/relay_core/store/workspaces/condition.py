"""The columns of a workspace that decide whether a step of it may be accepted or started."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select

from relay_core.domain.errors import NotFound
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.schema.tables import Workspace
from relay_core.store.tokens import Principal


@dataclass(frozen=True)
class WorkspaceCondition:
    """State and place of one workspace as they were read; made by `from_row` from all columns of `Workspace`."""

    id: UUID
    state: WorkspaceState
    requested_state: WorkspaceState | None
    """State that its node was asked for and has not reached; no step is claimed meanwhile."""
    error_reason: str | None
    """Why it could not be prepared; set in the state `failed`."""
    archived: bool
    deleted: bool
    pool: str
    node_id: str | None
    """Node that holds it; None before the first claim of its clone."""
    limits: Limits
    next_gid: int
    """Group id for the next execution that is claimed."""

    @classmethod
    def from_row(cls, row: RowMapping) -> "WorkspaceCondition":
        """The value of a row of `select(Workspace)`; further columns of the row are ignored."""
        requested = row["requested_state"]
        return cls(
            id=row["id"],
            state=WorkspaceState(row["state"]),
            requested_state=None if requested is None else WorkspaceState(requested),
            error_reason=row["error_reason"],
            archived=row["archived"],
            deleted=row["deleted_at"] is not None,
            pool=row["pool"],
            node_id=row["node_id"],
            limits=Limits.from_row(row["limits"]),
            next_gid=row["next_gid"],
        )

    @property
    def stopped(self) -> bool:
        """Whether it is stopped, or its node was asked to stop or to resume it."""
        return self.requested_state is not None or self.state is WorkspaceState.STOPPED


def read(connection: Connection, workspace_id: UUID) -> WorkspaceCondition:
    """The condition of a workspace that exists."""
    row = connection.execute(select(Workspace).where(Workspace.id == workspace_id)).mappings().one()
    return WorkspaceCondition.from_row(row)


def lock(connection: Connection, workspace_id: UUID) -> WorkspaceCondition:
    """The condition of a workspace that exists; its row stays locked until the transaction ends."""
    locked = select(Workspace).where(Workspace.id == workspace_id).with_for_update()
    return WorkspaceCondition.from_row(connection.execute(locked).mappings().one())


def read_for(connection: Connection, workspace_id: UUID, principal: Principal) -> WorkspaceCondition:
    """The condition of a workspace that the principal may see and that is not deleted.

    Raises:
        NotFound: there is no such workspace, it is deleted, or it belongs to another owner.
    """
    statement = select(Workspace).where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
    if principal.only is not None:
        statement = statement.where(Workspace.created_by == principal.only)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    return WorkspaceCondition.from_row(row)
