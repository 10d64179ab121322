"""Resumes workspaces of this node that have no container any more, with a new one."""

from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation, stop_resume
from relay_core.store.workspaces.stop_resume import StateRequest
from relay_workers.execution.remade_container import RemadeContainers
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_lock import try_lock


class Remakes:
    """Carries out requests to resume or stop workspaces whose container is to be made anew.

    It has a clock of its own, because an image may have to be pulled first.

    Args:
        node_id: the id of this node.
        data_dir: the data directory; it holds the lock files that the workers of this node share.
        database: stores the requests.
        containers: makes the containers.
        metrics: counts requests that were carried out.
    """

    def __init__(
        self, node_id: str, data_dir: Path, database: Database, containers: RemadeContainers, metrics: Metrics
    ) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._metrics = metrics

    def sweep(self) -> None:
        """Carry out every request that is due. If one fails, the next sweep tries again."""
        with self._database.connect() as connection:
            requests = stop_resume.due_remakes(connection, self._node_id)
        act_on_each(requests, self._carry_out)

    def _carry_out(self, request: StateRequest) -> None:
        """Carry out a request under the file lock under which `Quarantine` moves files, too."""
        with try_lock(self._data_dir, f"{request.workspace_id}.state") as mine:
            if mine and self._is_due(request):
                self._act(request)

    def _is_due(self, request: StateRequest) -> bool:
        with self._database.connect() as connection:
            return stop_resume.is_due(connection, request)

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
