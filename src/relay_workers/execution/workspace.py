"""Opens workspaces. A step runs in a workspace only after its row, container and directory were compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from uuid import UUID

from relay_core.domain.child_sight import Sight
from relay_core.domain.errors import Conflict, StepFailed
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import Reason, WorkspaceState
from relay_core.settings import Settings
from relay_core.store import events
from relay_core.store.delegations import reconcile
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation, workspace_row
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.containers.port import Containers, EngineUnavailable
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.git.port import Head
from relay_workers.host_files.kept_dirs import place_of
from relay_workers.ownership.disk_cap import DiskCap


@dataclass(frozen=True)
class WorkspaceHandle:
    """A workspace whose directory exists.

    Its container runs if `Workspaces.open` returned the handle; if `Workspaces.attend` did, the container may be gone.
    """

    row: WorkspaceRow
    container_id: str
    directory: Path
    uid: int
    """User id of its steps; steps that run as root have 0."""

    @property
    def repo_names(self) -> list[str]:
        """The names of the clones below ``repos/``."""
        return [repo.name for repo in self.row.repos]

    @property
    def disk_cap(self) -> DiskCap:
        """The limit on the disk space of the workspace."""
        return DiskCap(self.directory, self.container_id, self.row.limits.disk_bytes)

    def by_repo_id(self, heads: Mapping[str, Head]) -> dict[UUID, Head]:
        """Return ``heads`` keyed by repository id instead of by the clone's name."""
        return {repo.repo_id: heads[repo.name] for repo in self.row.repos}


def workspace_dir(data_dir: Path, workspace_id: UUID) -> Path:
    """Return the directory of a workspace on a node, whether it exists or not."""
    return place_of(data_dir, workspace_id)


class Workspaces:
    """The workspaces of this node.

    Args:
        database: stores their rows.
        containers: the container engine that runs their containers.
        retry: repeats calls to a container engine that is restarting.
        settings: the data directory of this node, and after which silence a node counts as offline.
    """

    def __init__(self, database: Database, containers: Containers, retry: RetryWhileSilent, settings: Settings) -> None:
        self._database = database
        self._containers = containers
        self._retry = retry
        self._data_dir = settings.data_dir
        self._presence = settings.presence

    def directory(self, workspace_id: UUID) -> Path:
        """Return the directory of a workspace on this host, whether it exists or not."""
        return workspace_dir(self._data_dir, workspace_id)

    def row(self, workspace_id: UUID) -> WorkspaceRow:
        """Return the row of a workspace."""
        with self._database.connect() as connection:
            return workspace_row.load(connection, workspace_id)

    def store_place(self, row: WorkspaceRow) -> None:
        """Store the directory of a workspace before it is made, so that the divergence sweep can always remove it."""
        directory = self.directory(row.id)
        with self._database.begin() as connection:
            preparation.set_fields(connection, row.id, work_dir=str(directory / "repos"), container_ref=str(directory))

    def attend(self, workspace_id: UUID) -> WorkspaceHandle:
        """Open a workspace to look after a process that an earlier worker started in it.

        Its container is not touched and may be gone: the log and the repositories are on this node's disk.

        Raises:
            StepFailed: `workspace_gone`: it was never prepared, or its directory is gone. In the second case the
                workspace is also marked as failed. `delegation_corrupt`: a record of a delegation cannot be read.
        """
        row = self.row(workspace_id)
        directory = self.directory(workspace_id)
        if row.container_id is None or row.uid is None:
            raise StepFailed(Reason.WORKSPACE_GONE, "the workspace was never prepared; start a new run")
        if not directory.is_dir():
            self._give_up(workspace_id, f"its directory is gone from node {row.node_id}")
            raise StepFailed(Reason.WORKSPACE_GONE, "the workspace's directory is gone; start a new run")
        if row.delegates:
            self._reconcile_delegations(row)
        return WorkspaceHandle(row, row.container_id, directory, row.uid)

    def open(self, workspace_id: UUID, cancelled: Event) -> WorkspaceHandle:
        """Open a workspace to start a step in it. Its container is started if it was stopped.

        Args:
            workspace_id: a prepared workspace of this node.
            cancelled: once this is set, a container engine that does not answer is no longer waited for.

        Raises:
            StepFailed: `container_missing` or `workspace_gone`: the container or the directory is gone. The workspace
                is then marked as failed.
        """
        handle = self.attend(workspace_id)
        if self._containers.answers(handle.container_id):
            return handle
        with self._retry.until(cancelled):
            state = self._containers.inspect(handle.container_id)
            if not state.exists:
                self._give_up(workspace_id, "its container was removed outside of Relay")
                raise StepFailed(Reason.CONTAINER_MISSING, "the workspace's container was removed; start a new run")
            if not state.running:
                self._containers.restart(handle.container_id)
        if not state.running:
            with self._database.begin() as connection:
                preparation.set_state(connection, workspace_id, WorkspaceState.RUNNING)
                events.append(connection, workspace_id, EventKind.WORKSPACE_CONTAINER_RESTARTED, {"found": "stopped"})
        return handle

    def _reconcile_delegations(self, row: WorkspaceRow) -> None:
        """Adopt the workspace's lease and reclaim those that its children cannot use any more."""
        with self._database.connect() as connection:
            here = reconcile.containers_here(connection, row.id, row.node_id)
        sights = {child: self._sight(container) for child, container in here.items()}
        try:
            with self._database.begin() as connection:
                reconcile.reconcile(connection, row.id, sights, self._presence)
        except Conflict as error:
            raise StepFailed(Reason.DELEGATION_CORRUPT, str(error)) from error

    def _sight(self, container_id: str) -> Sight:
        try:
            if self._containers.answers(container_id):
                return Sight.RUNNING
            state = self._containers.inspect(container_id)
        except EngineUnavailable:
            return Sight.SILENT
        if not state.exists:
            return Sight.ABSENT
        return Sight.RUNNING if state.running else Sight.STOPPED

    def _give_up(self, workspace_id: UUID, why: str) -> None:
        with self._database.begin() as connection:
            preparation.set_state(connection, workspace_id, WorkspaceState.FAILED, why)
