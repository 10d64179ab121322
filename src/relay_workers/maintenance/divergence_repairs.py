"""Repairs differences between this node and Postgres. The difference may be gone by the time of its repair."""

from pathlib import Path
from uuid import UUID

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store import operations
from relay_core.store.nodes import node_workspaces
from relay_core.store.nodes.node_workspaces import NodeWorkspace
from relay_core.store.operations import Subject
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation
from relay_workers.containers.port import Containers
from relay_workers.containers.run_files import remove_files
from relay_workers.host_files.first_edition import remove_runs
from relay_workers.host_files.kept_dirs import place_of
from relay_workers.maintenance.quarantine import Quarantine
from relay_workers.ownership import node_lock


class DivergenceRepairs:
    """The repair of each kind of difference.

    Args:
        node_id: the id of this node.
        data_dir: the data directory of this node.
        database: stores the rows.
        containers: the container engine of this node.
        quarantine: takes the files of deleted workspaces.
    """

    def __init__(
        self, node_id: str, data_dir: Path, database: Database, containers: Containers, quarantine: Quarantine
    ) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._quarantine = quarantine

    def fail_workspace(self, row: NodeWorkspace) -> None:
        """Set a workspace to `failed` if its container is still missing and its row has not changed since it was found.

        The workspace may have been prepared again, stopped or deleted meanwhile; then nothing changes.
        """
        if row.container_id is not None and self._containers.inspect(row.container_id).exists:
            return
        with self._database.begin() as connection:
            if node_workspaces.is_still(connection, row, self._node_id):
                why = "its container was removed outside of Relay"
                preparation.set_state(connection, row.id, WorkspaceState.FAILED, why)

    def remove_unwanted_container(self, container_id: str, workspace_id: UUID) -> None:
        """Remove a container if its workspace, read again from Postgres, still does not need it.

        The container's lock is held meanwhile: a retry of the preparation, which would use the container, waits for it.
        While a preparation makes the container, nothing is removed; a later sweep looks again.
        """
        with node_lock.container_removal(self._data_dir, workspace_id) as locked:
            if not locked:
                return
            with self._database.connect() as connection:
                row = node_workspaces.workspace_of(connection, self._node_id, workspace_id)
            if is_unwanted(row):
                self._containers.remove(container_id)

    def note_orphan(self, container_id: str, message: str) -> None:
        """Append the event that the node has a container that no workspace needs, unless it was told already."""
        with self._database.begin() as connection:
            operation_id = operations.begin(connection, OperationKind.ORPHAN, self._orphan(container_id))
            if operation_id is not None:
                payload = {"node_id": self._node_id, "message": message}
                operations.append(connection, operation_id, EventKind.ORPHAN_FOUND, payload)

    def note_orphan_removed(self, container_id: str) -> None:
        """Append the event that such a container is gone."""
        with self._database.begin() as connection:
            operation_id = operations.open_of(connection, [OperationKind.ORPHAN], self._orphan(container_id))
            if operation_id is not None:
                payload = {"node_id": self._node_id}
                operations.append(connection, operation_id, EventKind.ORPHAN_REMOVED, payload, terminal=True)

    def _orphan(self, container_id: str) -> Subject:
        return Subject(SubjectKind.CONTAINER, container_id)

    def remove_raw_files(self, execution_id: UUID) -> None:
        """Remove the log files of an execution that has ended."""
        remove_files(self._data_dir, execution_id)

    def remove_runs(self, workspace_id: UUID, execution_id: UUID) -> None:
        """Remove the log files that the first edition of Relay kept of an execution that has ended."""
        remove_runs(self._workspace_dir(workspace_id), str(execution_id))

    def remove_deleted_workspace(self, row: NodeWorkspace) -> None:
        """Remove the container of a deleted workspace, and put its files into quarantine (`Quarantine.take`)."""
        self._quarantine.take(row)

    def _workspace_dir(self, workspace_id: UUID) -> Path:
        return place_of(self._data_dir, workspace_id)


def is_unwanted(row: NodeWorkspace | None) -> bool:
    """Return whether the container of this workspace should be removed: there is no row, or the row needs no container.

    False for a deleted workspace that still exists here: its own repair removes the container before everything else.
    """
    if row is None:
        return True
    return not (row.live or (row.deleted and row.there and not row.kept))
