"""Compares the directories of workspaces, by their anchors, with the rows: moved, unregistered and doubled ones."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.directories import DirectoryFinding
from relay_core.store.nodes import directories
from relay_core.store.nodes.directories import Registered, Unused
from relay_core.store.transaction import Database
from relay_workers.host_files import anchors
from relay_workers.host_files.anchors import FoundDirectory
from relay_workers.host_files.first_edition import uuid_or_nil
from relay_workers.host_files.kept_dirs import KEPT, note_place
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.node_lock import try_lock

log = structlog.get_logger(__name__)


class Anchors:
    """The anchors of one node.

    Args:
        node_id: the id of the node.
        data_dir: its data directory.
        database: stores what was found.
    """

    def __init__(self, node_id: str, data_dir: Path, database: Database) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database

    def sweep(self) -> None:
        """Write the anchors that are missing; record which directories were moved, doubled, or are unclaimed."""
        with try_lock(self._data_dir, "anchors") as mine:
            if not mine:
                return
            key = anchors.load_key(self._data_dir)
            found = list(anchors.scan(self._data_dir, key))
            named = {uuid_or_nil(one.path.name) for one in found}
            ids = named | {one.workspace_id for one in found if one.workspace_id is not None}
            with self._database.connect() as connection:
                rows = directories.registered(connection, self._node_id, ids)
            self._write_missing(found, rows, key)
            places = _places([one for one in found if one.path.is_dir()], rows)
            for workspace_id, ones in places.items():
                self._compare(rows.get(workspace_id), ones)
            with self._database.begin() as connection:
                directories.settle(connection, self._node_id, _unused(places, rows))

    def _write_missing(self, found: Sequence[FoundDirectory], rows: dict[UUID, Registered], key: bytes) -> None:
        for one in found:
            row = rows.get(uuid_or_nil(one.path.name))
            if one.anchor is not None or row is None or not (row.prepared and row.live and row.place == str(one.path)):
                continue
            with self._database.connect() as connection:
                facts = directories.facts(connection, self._node_id, row.id)
            try:
                anchors.write(one.path, key, facts)
            except (TamperedFile, OSError) as error:
                log.warning("a workspace has no anchor", workspace_id=str(row.id), error=str(error))

    def _compare(self, row: Registered | None, found: Sequence[FoundDirectory]) -> None:
        """Record what a workspace that is not deleted has, if it is not as its row says."""
        if row is None or not row.live:
            return
        if len(found) > 1:
            with self._database.begin() as connection:
                directories.duplicated(connection, row.id, self._node_id, [str(one.path) for one in found])
            return
        path = found[0].path
        if path.parent.name == KEPT:  # it is being put away or brought back
            return
        note_place(self._data_dir, row.id, path)
        if row.error is not None:
            with self._database.begin() as connection:
                directories.not_duplicated(connection, row.id, self._node_id)
        if row.place != str(path):
            with self._database.begin() as connection:
                directories.moved(connection, row.id, self._node_id, str(path))


def _places(found: Sequence[FoundDirectory], rows: dict[UUID, Registered]) -> dict[UUID, list[FoundDirectory]]:
    """Return the directories of each workspace: those whose anchors name it, and the one that is named after it.

    The caller has looked again, after it read the rows, whether they are there: one that has just been moved was seen
    in two places.
    """
    places: dict[UUID, list[FoundDirectory]] = {}
    for one in found:
        workspace_id = one.workspace_id
        if workspace_id is None and (named := uuid_or_nil(one.path.name)) in rows:
            workspace_id = named
        if workspace_id is not None:
            places.setdefault(workspace_id, []).append(one)
    return places


def _unused(places: dict[UUID, list[FoundDirectory]], rows: dict[UUID, Registered]) -> dict[str, Unused]:
    """Return the directories that nothing may use, by path.

    The row of a workspace gives up its directory after the directory is gone. So a directory that was there after the
    rows were read, and that no row claims, belongs to no workspace.
    """
    unused = {}
    for workspace_id, found in places.items():
        finding = DirectoryFinding.UNREGISTERED if workspace_id not in rows else DirectoryFinding.DUPLICATE
        if finding is DirectoryFinding.DUPLICATE and len(found) == 1:
            continue
        for one in found:
            unused[str(one.path)] = Unused(workspace_id, finding, one.anchor or {})
    return unused
