"""Resumes workspaces of this node that have no container any more, with a new one."""

from collections.abc import Sequence
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.database import Connection
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation, stop_resume
from relay_core.store.workspaces.stop_resume import StateRequest
from relay_workers.execution.remade_container import RemadeContainers
from relay_workers.maintenance.state_requests import StateRequests
from relay_workers.metrics import Metrics


class Remakes(StateRequests):
    """Carries out requests to resume or stop workspaces whose container is to be made anew.

    It has a clock of its own, because an image may have to be pulled first.

    Args:
        node_id, data_dir, database, metrics: as of `StateRequests`.
        containers: makes the containers.
    """

    def __init__(
        self, node_id: str, data_dir: Path, database: Database, containers: RemadeContainers, metrics: Metrics
    ) -> None:
        super().__init__(node_id, data_dir, database, metrics)
        self._containers = containers

    def _due(self, connection: Connection) -> Sequence[StateRequest]:
        return stop_resume.due_remakes(connection, self._node_id)

    def _act(self, request: StateRequest) -> None:
        """Make the container if the workspace is to run.

        Otherwise there may be one that its row does not know: a worker died after it had made it.
        """
        made: dict[str, object] = {}
        if request.state is WorkspaceState.STOPPED:
            self._containers.remove(request.workspace_id)
        else:
            try:
                made = {"container_id": self._containers.make(request.workspace_id), "remake_container": False}
            except StepFailed as error:
                self._containers.remove(request.workspace_id)  # a retry would use it
                with self._database.begin() as connection:
                    stop_resume.give_up(connection, request, f"its container cannot be made again: {error}")
                return
        with self._database.begin() as connection:
            if made:
                preparation.set_fields(connection, request.workspace_id, **made)
            stop_resume.settle(connection, request)
        self._metrics.swept(f"workspace_{request.state}")
