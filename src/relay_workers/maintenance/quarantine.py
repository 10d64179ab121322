"""Keeps the files of deleted workspaces for a while, brings them back on request, and removes them at the end.

The node moves a workspace's directory by one rename. Its store of recorded states stays where it is: no container sees
it. Each act can be repeated: a worker may die at any point of it (docs/quarantine.md).
"""

import os
import shutil
from uuid import UUID

import structlog

from relay_core.domain.vocabulary import PurgeReason, QuarantineState
from relay_core.settings import Settings
from relay_core.store.nodes.node_workspaces import NodeWorkspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import quarantine
from relay_core.store.workspaces.quarantine import Due
from relay_workers.containers.port import Containers, container_name
from relay_workers.git.port import Git
from relay_workers.host_files.anchors import own_place
from relay_workers.host_files.kept_dirs import forget_place, kept_place_of, move
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics
from relay_workers.ownership import node_lock

log = structlog.get_logger(__name__)


class Quarantine:
    """The quarantine of one node.

    Args:
        node_id: the id of the node.
        settings: its data directory, how long files are kept, and how much of its disk is to stay free.
        database: stores which workspaces are deleted, kept, and asked for.
        containers: the container engine of the node.
        git: removes files and stores.
        metrics: counts restored and removed workspaces.
    """

    def __init__(
        self,
        node_id: str,
        settings: Settings,
        database: Database,
        containers: Containers,
        git: Git,
        metrics: Metrics,
    ) -> None:
        self._node_id = node_id
        self._data_dir = settings.data_dir
        self._keep_seconds = settings.quarantine_hours * 3600
        self._min_free_bytes = settings.node_min_free_bytes
        self._database = database
        self._containers = containers
        self._git = git
        self._metrics = metrics

    def take(self, row: NodeWorkspace) -> None:
        """Remove the container of a deleted workspace that is idle, and move its files out of sight.

        They are removed at once if a client asked for that, or if the node keeps nothing. If its directory is not in
        its place, it may be elsewhere, and its store of recorded states stays, too, unless a client asked for a purge.
        """
        with node_lock.try_lock(self._data_dir, _lock(row.id)) as mine:
            if not mine:
                return
            with self._database.connect() as connection:
                leaving = quarantine.leaving(connection, self._node_id, row.id)
            if leaving is None:
                return
            self._remove_container(row.id, leaving.container_id)
            kept = None
            if not leaving.purge and not self._has_files(row.id):
                log.warning("a deleted workspace has no directory; its store stays", workspace_id=str(row.id))
            elif not leaving.purge and self._keep_seconds:
                place = kept_place_of(self._data_dir, row.id)
                kept = place if move(own_place(self._data_dir, row.id), place) else None
                forget_place(self._data_dir, row.id)
            elif not self._removed_at_once(row.id):
                return
            with self._database.begin() as connection:
                quarantine.left(connection, row.id, self._node_id, kept, self._keep_seconds)
        node_lock.remove_lock(self._data_dir, str(row.id))

    def _has_files(self, workspace_id: UUID) -> bool:
        places = own_place(self._data_dir, workspace_id), kept_place_of(self._data_dir, workspace_id)
        return any(os.path.lexists(place) for place in places)

    def _removed_at_once(self, workspace_id: UUID) -> bool:
        """Remove the files of a workspace of which nothing is kept; return False if a client has asked for them."""
        with self._database.begin() as connection:
            if not quarantine.begin_removal(connection, workspace_id, self._node_id):
                return False
        self._remove_files(workspace_id)
        return True

    def sweep_restores(self) -> None:
        """Restore what clients asked for."""
        act_on_each([one for one in self._due() if one.state is QuarantineState.RESTORING], self._act)

    def sweep(self) -> None:
        """Restore what clients asked for, remove what was kept long enough, and more while the disk is nearly full."""
        act_on_each(self._due(), self._act)
        while self._is_short():
            with self._database.connect() as connection:
                oldest = quarantine.oldest(connection, self._node_id)
            if oldest is None or not self._purge(oldest, PurgeReason.DISK):
                return
            log.warning("the disk is nearly full; a deleted workspace is kept no longer", workspace_id=str(oldest))

    def _due(self) -> list[Due]:
        with self._database.connect() as connection:
            return quarantine.due(connection, self._node_id)

    def _act(self, due: Due) -> None:
        if due.state is QuarantineState.RESTORING:
            self._restore(due.workspace_id)
        else:
            self._purge(due.workspace_id, PurgeReason.PERIOD)

    def _restore(self, workspace_id: UUID) -> None:
        with node_lock.try_lock(self._data_dir, _lock(workspace_id)) as mine:
            if not mine:
                return
            with self._database.connect() as connection:
                due = quarantine.still_due(connection, self._node_id, workspace_id)
            if due is None or due.state is not QuarantineState.RESTORING:
                return  # another worker has restored it, and it may be in use
            self._remove_container(workspace_id, due.container_id)  # it may not have left yet
            place = own_place(self._data_dir, workspace_id)
            back = move(kept_place_of(self._data_dir, workspace_id), place)
            with self._database.begin() as connection:
                quarantine.restored(connection, workspace_id, self._node_id, place if back else None)
        self._metrics.swept("workspace_restored")

    def _purge(self, workspace_id: UUID, why: PurgeReason) -> bool:
        """Remove the kept files of a workspace; return False if a client has asked for them, or another worker acts."""
        with node_lock.try_lock(self._data_dir, _lock(workspace_id)) as mine:
            if not mine:
                return False
            with self._database.begin() as connection:
                if not quarantine.begin_purge(connection, workspace_id, why):
                    return False
            self._remove_files(workspace_id)
            with self._database.begin() as connection:
                quarantine.purged(connection, workspace_id, self._node_id)
        node_lock.remove_lock(self._data_dir, str(workspace_id))
        self._metrics.swept("workspace_purged")
        return True

    def _remove_container(self, workspace_id: UUID, container_id: str | None) -> None:
        if container_id is not None:
            self._containers.remove(container_id)
        # A worker that died may have made another one that no row names.
        self._containers.remove(container_name(str(workspace_id)))
        # The engine's answer about a container tells where its channel is, but this one may have been removed by hand.
        shutil.rmtree(self._data_dir / "channels" / container_name(str(workspace_id)), ignore_errors=True)

    def _remove_files(self, workspace_id: UUID) -> None:
        """Remove the files from both places, as a move may not have reached the disk before the power failed."""
        for place in (kept_place_of(self._data_dir, workspace_id), own_place(self._data_dir, workspace_id)):
            self._git.remove_workspace(workspace_id, place)
        forget_place(self._data_dir, workspace_id)

    def _is_short(self) -> bool:
        return shutil.disk_usage(self._data_dir).free < self._min_free_bytes


def _lock(workspace_id: UUID) -> str:
    """Return the name of the lock of whatever else makes a container, or records clones, beside the steps."""
    return f"{workspace_id}.state"
