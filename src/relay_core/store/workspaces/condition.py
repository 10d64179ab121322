"""The columns of a workspace that decide whether a step of it may be accepted or started."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.schema.tables import Workspace
from relay_core.store.tokens import Principal


@dataclass(frozen=True)
class WorkspaceCondition:
    """State and placement of one workspace as they were read; `from_row` makes it."""

    id: UUID
    state: WorkspaceState
    requested_state: WorkspaceState | None
    """State that its node was asked for and has not reached yet; until then no step is claimed."""
    idle_stopped: bool
    """Whether Relay stopped it because it was idle; where that is not read: false."""
    error_reason: str | None
    """Why the workspace could not be prepared; set in the state `failed`."""
    archived: bool
    deleted: bool
    pool: str
    node_id: str | None
    """Node that holds the workspace; None before its clone is claimed for the first time."""
    limits: Limits
    needs: frozenset[str]
    """Capabilities that its node has to declare."""
    next_gid: int
    """Group id for the processes of the next execution that is claimed."""
    forked: bool = False
    """Whether it starts from the recorded state of another workspace, on whose node it was placed at once."""
    directory_error: str | None = None
    """Why nothing starts in it, whatever its kind: its node has several directories of it."""
    diverged: bool = False
    """Whether a clone is not as it was recorded, which no person has acknowledged yet."""

    @classmethod
    def from_row(cls, row: RowMapping) -> "WorkspaceCondition":
        """Make the value from a row of `select(Workspace)`; additional columns of the row are ignored."""
        requested = row["requested_state"]
        return cls(
            id=row["id"],
            state=WorkspaceState(row["state"]),
            requested_state=None if requested is None else WorkspaceState(requested),
            idle_stopped=bool(row.get("idle_stopped", False)),
            error_reason=row["error_reason"],
            archived=row["archived"],
            deleted=row["deleted_at"] is not None,
            pool=row["pool"],
            node_id=row["node_id"],
            limits=Limits.from_row(row["limits"]),
            needs=frozenset(row["needs"]),
            next_gid=row["next_gid"],
            forked=row["forked_from"] is not None,
            directory_error=row.get("directory_error"),
            diverged=row["diverged_at"] is not None,
        )

    @property
    def begins(self) -> bool:
        """Whether its first step, which makes its clones, is still to come, so that it is new to its node."""
        return self.node_id is None or (self.forked and self.state is WorkspaceState.STARTING)

    @property
    def stopped(self) -> bool:
        """Whether the workspace is stopped, or its node was asked to stop or resume it and has not done so yet."""
        return self.requested_state is not None or self.state is WorkspaceState.STOPPED

    def refuse_if_diverged(self, reason: RunReason) -> None:
        """Raise an error if a clone is not as it was recorded, and executions of this kind may change something.

        Raises:
            Conflict: `workspace_diverged`; `workspace_duplicated`: its node has several directories of it.
        """
        if self.directory_error is not None:
            raise Conflict(self.directory_error, code="workspace_duplicated")
        if self.diverged and reason.operation_class.mutates:
            message = (
                f"a clone of the workspace has commits that no execution recorded, so no {reason} starts; see "
                f"GET /v1/workspaces/{self.id}/git-state, then acknowledge it"
            )
            raise Conflict(message, code="workspace_diverged")


def read(connection: Connection, workspace_id: UUID) -> WorkspaceCondition:
    """Return the condition of a workspace that exists."""
    row = connection.execute(select(Workspace).where(Workspace.id == workspace_id)).mappings().one()
    return WorkspaceCondition.from_row(row)


def lock(connection: Connection, workspace_id: UUID) -> WorkspaceCondition:
    """Return the condition of a workspace that exists, and lock its row until the transaction ends."""
    locked = select(Workspace).where(Workspace.id == workspace_id).with_for_update()
    return WorkspaceCondition.from_row(connection.execute(locked).mappings().one())


def read_for(connection: Connection, workspace_id: UUID, principal: Principal) -> WorkspaceCondition:
    """Return the condition of a workspace that is not deleted and that the principal may see.

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
