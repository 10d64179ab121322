"""Removes the git mirrors of this node that are to go, by request or with their project, unless a clone uses them."""

from relay_core.store.projects import mirrors
from relay_core.store.projects.mirrors import MirrorPurge
from relay_core.store.transaction import Database
from relay_workers.git.port import Git
from relay_workers.maintenance.each_item import act_on_each


class MirrorPurges:
    """Removes mirrors of one node.

    Args:
        node_id: the id of the node.
        database: stores the requests.
        git: removes the files, under the lock of the mirror.
    """

    def __init__(self, node_id: str, database: Database, git: Git) -> None:
        self._node_id = node_id
        self._database = database
        self._git = git

    def sweep(self) -> int:
        """Remove every mirror that is due; return how many were removed.

        A mirror that is being fetched, or that a clone has begun to use, stays; the next sweep looks again.
        """
        with self._database.connect() as connection:
            found = mirrors.due_purges(connection, self._node_id)
        removed: list[MirrorPurge] = []

        def purge(each: MirrorPurge) -> None:
            if self._purge(each):
                removed.append(each)

        act_on_each(found, purge)
        return len(removed)

    def _purge(self, purge: MirrorPurge) -> bool:
        if not self._git.remove_mirror(purge.project_id, purge.remote, lambda: self._is_due(purge)):
            return False
        with self._database.begin() as connection:
            mirrors.purged(connection, purge)
        return True

    def _is_due(self, purge: MirrorPurge) -> bool:
        with self._database.connect() as connection:
            return mirrors.is_due(connection, purge)
