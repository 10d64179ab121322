"""What Postgres says should be on a node; the sweeps compare it with what is there."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.vocabulary import FINAL, Status, WorkspaceState
from relay_core.postgres.tables import ExecutionProcess, Workspace

E = ExecutionProcess


@dataclass(frozen=True)
class NodeWorkspace:
    """A workspace that was placed on the node."""

    id: UUID
    state: WorkspaceState
    container_id: str | None
    deleted: bool
    busy: bool
    """Something of it runs or waits."""

    @property
    def live(self) -> bool:
        """Whether its container and files are still wanted."""
        return self.busy or not (self.deleted or self.state is WorkspaceState.FAILED)


def workspaces_of(connection: Connection, node_id: str) -> dict[UUID, NodeWorkspace]:
    """All of them, by id."""
    active = E.status.in_([Status.QUEUED, Status.RUNNING])
    busy = select(E.id).where(E.workspace_id == Workspace.id, active).exists()
    columns = (Workspace.id, Workspace.state, Workspace.container_id, Workspace.deleted_at.is_not(None), busy)
    rows = connection.execute(select(*columns).where(Workspace.node_id == node_id))
    return {row[0]: NodeWorkspace(row[0], WorkspaceState(row[1]), *row[2:]) for row in rows}


def finished(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Those of some executions that have ended: their log is complete here."""
    return set(connection.scalars(select(E.id).where(E.id.in_(ids), E.status.in_(FINAL))))
