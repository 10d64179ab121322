"""Repairs differences between this node and Postgres. The difference may be gone by the time of its repair."""

import shutil
from pathlib import Path
from uuid import UUID

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store import operations
from relay_core.store.nodes import node_workspaces
from relay_core.store.nodes.node_workspaces import NodeWorkspace
from relay_core.store.operations import Subject
from relay_core.store.projects import secrets
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation
from relay_core.store.workspaces.removal import note_removal
from relay_workers.containers.port import Containers, container_name
from relay_workers.containers.run_files import remove_files
from relay_workers.git.port import Git
from relay_workers.host_files.first_edition import remove_runs
from relay_workers.ownership import node_lock


class DivergenceRepairs:
    """The repair of each kind of difference.

    Args:
        node_id: the id of this node.
        data_dir: the data directory of this node.
        database: stores the rows.
        containers: the container engine of this node.
        git: removes clones and stores.
    """

    def __init__(self, node_id: str, data_dir: Path, database: Database, containers: Containers, git: Git) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._git = git

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
        """Remove container, files, stores and locks of a deleted workspace; record that in its row and as an event."""
        if row.container_id is not None:
            self._containers.remove(row.container_id)
        self._git.remove_workspace(row.id, self._workspace_dir(row.id))
        # The engine's answer about a container tells where its channel is, but this one may have been removed by hand.
        shutil.rmtree(self._data_dir / "channels" / container_name(str(row.id)), ignore_errors=True)
        node_lock.remove_lock(self._data_dir, str(row.id))
        with self._database.begin() as connection:
            preparation.set_fields(connection, row.id, container_ref=None, container_id=None, work_dir=None)
            preparation.set_state(connection, row.id, WorkspaceState.STOPPED)
            secrets.forget_given(connection, row.id)
            note_removal(connection, row.id, self._node_id)

    def _workspace_dir(self, workspace_id: UUID) -> Path:
        return self._data_dir / "workspaces" / str(workspace_id)


def is_unwanted(row: NodeWorkspace | None) -> bool:
    """Return whether the container of this workspace should be removed: there is no row, or the row needs no container.

    False for a deleted workspace that still exists here: its own repair removes the container with everything else.
    """
    if row is None:
        return True
    return not (row.live or (row.deleted and row.there))
