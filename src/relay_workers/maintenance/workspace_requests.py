"""Carries out requests to stop or resume the workspaces of this node."""

from collections.abc import Sequence
from pathlib import Path

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.database import Connection
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.stop_resume import StateRequest
from relay_workers.containers.port import Containers
from relay_workers.maintenance.state_requests import StateRequests
from relay_workers.metrics import Metrics


class WorkspaceRequests(StateRequests):
    """Stops and starts the containers of workspaces as requested in their rows.

    Args:
        node_id, data_dir, database, metrics: as of `StateRequests`.
        containers: the container engine.
    """

    def __init__(
        self, node_id: str, data_dir: Path, database: Database, containers: Containers, metrics: Metrics
    ) -> None:
        super().__init__(node_id, data_dir, database, metrics)
        self._containers = containers

    def _due(self, connection: Connection) -> Sequence[StateRequest]:
        return stop_resume.due_requests(connection, self._node_id)

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
