"""End processes that executions have left on this node: the executions ended while the node or its engine was away.

Until their processes are gone, `store.executions.claim` lets no execution start in their workspace.
"""

from pathlib import Path

import structlog

from relay_core.domain.errors import RelayError
from relay_core.store.executions.leftovers import Leftover, forget_leftover, leftovers
from relay_core.store.transaction import Database
from relay_workers.containers.port import Containers
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.workspace import workspace_dir
from relay_workers.git.port import Git
from relay_workers.host_files.run_dir import remove_runs
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.step_processes import StepProcesses

log = structlog.get_logger(__name__)


class Leftovers:
    """Ends leftovers of one node.

    Args:
        node_id: of the node.
        data_dir: of the node.
        database: lists the executions that left processes; it sends the messages of executions that can start then.
        containers: where the processes run.
        git: removes workspaces that are another node's now.
    """

    def __init__(self, node_id: str, data_dir: Path, database: Database, containers: Containers, git: Git) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._git = git
        self._ender = ProcessEnder(containers, database, data_dir)

    def sweep(self) -> int:
        """End what is left in every workspace of the node; return the number of executions whose processes are gone.

        Processes that cannot be ended now stay for the next sweep.
        """
        with self._database.connect() as connection:
            found = leftovers(connection, self._node_id)
        return sum(self._try_to_end(leftover) for leftover in found)

    def _try_to_end(self, leftover: Leftover) -> bool:
        try:
            self._end(leftover)
        except RelayError as error:
            log.warning(
                "processes of an ended execution may still run",
                execution_id=str(leftover.execution_id),
                error=str(error),
            )
            return False
        return True

    def _end(self, leftover: Leftover) -> None:
        processes = StepProcesses.of_leftover(leftover)
        if processes is not None and self._containers.inspect(processes.container_id).running:
            self._ender.end(processes, grace_seconds=0)
        self._remove_files(leftover)
        with self._database.begin() as connection:
            forget_leftover(connection, leftover, self._node_id)

    def _remove_files(self, leftover: Leftover) -> None:
        """Remove the raw log, which is unmasked and cannot be appended to the stored log any more.

        A workspace that is another node's now was never prepared here: all of its files go.
        """
        directory = workspace_dir(self._data_dir, leftover.workspace_id)
        if leftover.elsewhere:
            self._git.remove_workspace(leftover.workspace_id, directory)
            return
        try:
            remove_runs(directory, str(leftover.execution_id))
        except (TamperedFile, OSError) as error:
            log.warning("raw log files stay on disk", execution_id=str(leftover.execution_id), error=str(error))
