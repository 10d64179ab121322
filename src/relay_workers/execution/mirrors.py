"""Fetches into the mirrors of this node, and records in Postgres how each fetch ended."""

from contextlib import AbstractContextManager

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.url import redact
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.projects import mirrors
from relay_core.store.projects.mirrors import MirrorPlace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import first_workspace
from relay_workers.execution.progress_events import ProgressEvents, Tell
from relay_workers.git.port import FetchedRemote, FetchRequest, Git, StartPointMissing


class MirrorFetches:
    """Fetches remotes; the row of each mirror says what the node has of the remote.

    Args:
        database: stores the rows of mirrors.
        git: fetches.
        node_id: the id of this node.
    """

    def __init__(self, database: Database, git: Git, node_id: str) -> None:
        self._database = database
        self._git = git
        self._node_id = node_id
        self._progress = ProgressEvents(database)

    def progress_of(self, claimed: Claimed) -> AbstractContextManager[Tell]:
        """Return a block in which the progress of an execution is written (`ProgressEvents.of`)."""
        return self._progress.of(claimed)

    def fetch(self, request: FetchRequest) -> FetchedRemote:
        """Update the mirror of a remote, or make it (`Git.fetch`); record the start and the end of the fetch.

        A fetch that was cancelled is left as it is in the row: the end of its execution settles that.

        Raises:
            StepFailed: as `Git.fetch`; `clone_failed` also if the settings of the node do not allow the remote.
        """
        try:
            return self._fetch(request)
        except InvalidInput as error:
            raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {redact(request.url)}: {error}") from error

    def _fetch(self, request: FetchRequest) -> FetchedRemote:
        path = str(self._git.mirror_path(request.project_id, request.url))
        place = MirrorPlace(self._node_id, request.project_id, request.url, path)
        with self._database.begin() as connection:
            mirrors.begin_fetch(connection, place)
        try:
            fetched = self._git.fetch(request)
        except StartPointMissing:
            self._end(place)
            raise
        except StepFailed as error:
            if error.reason != Reason.USER:
                self._end(place, str(error))
            raise
        self._end(place)
        return fetched

    def _end(self, place: MirrorPlace, error: str | None = None) -> None:
        with self._database.begin() as connection:
            mirrors.end_fetch(connection, place, error)
        if error is None:  # the end of the execution settles a failure
            with self._database.begin() as connection:
                first_workspace.settle(connection, place.project_id)
