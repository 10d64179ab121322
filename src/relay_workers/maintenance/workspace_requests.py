"""Carries out requests to stop or resume the workspaces of this node."""

from pathlib import Path

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.stop_resume import StateRequest
from relay_workers.containers.port import Containers
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_lock import try_lock


class WorkspaceRequests:
    """Stops and starts the containers of workspaces as requested in their rows.

    Args:
        node_id: the id of this node.
        data_dir: the data directory; it holds the lock files that the workers of this node share.
        database: stores the requests; after a commit it sends the messages of executions that may start in a resumed
            workspace.
        containers: the container engine.
        metrics: counts requests that were carried out.
    """

    def __init__(
        self,
        node_id: str,
        data_dir: Path,
        database: Database,
        containers: Containers,
        metrics: Metrics,
    ) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._metrics = metrics

    def sweep(self) -> None:
        """Carry out every request that is due. If one fails, the next sweep tries again."""
        with self._database.connect() as connection:
            requests = stop_resume.due_requests(connection, self._node_id)
        act_on_each(requests, self._carry_out)

    def _carry_out(self, request: StateRequest) -> None:
        """Carry out a request under a file lock, so that only one worker of the node acts on the workspace at a time.

        A file lock also holds while the engine hangs and Postgres is away.
        """
        with try_lock(self._data_dir, f"{request.workspace_id}.state") as mine:
            if mine and self._is_due(request):
                self._act(request)

    def _is_due(self, request: StateRequest) -> bool:
        with self._database.connect() as connection:
            return stop_resume.is_due(connection, request)

    def _act(self, request: StateRequest) -> None:
        if request.state is WorkspaceState.STOPPED:
            self._containers.stop(request.container_id)
        elif not self._started(request):
            with self._database.begin() as connection:
                stop_resume.give_up(connection, request, "its container was removed outside of Relay")
            return
        with self._database.begin() as connection:
            stop_resume.settle(connection, request)
        self._metrics.swept(f"workspace_{request.state}")

    def _started(self, request: StateRequest) -> bool:
        """Start the container if it is stopped; return False if there is none."""
        state = self._containers.inspect(request.container_id)
        if state.exists and not state.running:
            self._containers.restart(request.container_id)
        return state.exists
