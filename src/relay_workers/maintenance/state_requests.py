"""The common part of the clocks that carry out requests to stop or resume the workspaces of this node."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from relay_core.store.database import Connection
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.stop_resume import StateRequest
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_lock import try_lock


class StateRequests(ABC):
    """Carries out requests for the state of workspaces, each under the lock of its workspace.

    Args:
        node_id: the id of this node.
        data_dir: the data directory; it holds the lock files that the workers of this node share.
        database: stores the requests; after a commit it sends the messages of executions that may start in a resumed
            workspace.
        metrics: counts requests that were carried out.
    """

    def __init__(self, node_id: str, data_dir: Path, database: Database, metrics: Metrics) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._metrics = metrics

    def sweep(self) -> None:
        """Carry out every request that is due. If one fails, the next sweep tries again."""
        with self._database.connect() as connection:
            requests = self._due(connection)
        act_on_each(requests, self._carry_out)

    def _carry_out(self, request: StateRequest) -> None:
        """Carry out a request under a file lock, so that only one worker of the node acts on the workspace at a time.

        `Quarantine` moves files under the same lock. A file lock also holds while the engine hangs and Postgres is
        away.
        """
        with try_lock(self._data_dir, f"{request.workspace_id}.state") as mine:
            if mine and self._is_due(request):
                self._act(request)

    def _is_due(self, request: StateRequest) -> bool:
        with self._database.connect() as connection:
            return stop_resume.is_due(connection, request)

    @abstractmethod
    def _due(self, connection: Connection) -> Sequence[StateRequest]:
        """Return the requests that this clock carries out."""

    @abstractmethod
    def _act(self, request: StateRequest) -> None:
        """Carry out a request that is still due."""
