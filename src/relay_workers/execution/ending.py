"""Kills every process of an execution and verifies that none is left.

Kills by users, exceeded limits, processes that a step leaves behind and steps that raised an error all use this module.
The processes are found by their group id. A process of root can change its group id; so after a step that ran as root,
every process in the container that belongs to no running execution is killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.events import EventKind
from relay_core.store import events
from relay_core.store.executions import owned
from relay_core.store.transaction import Database
from relay_workers.containers.port import Containers, EngineUnavailable, KillResult
from relay_workers.ownership.node_lock import hold_lock
from relay_workers.ownership.step_processes import StepProcesses

log = structlog.get_logger(__name__)


@contextmanager
def starting(data_dir: Path, workspace_id: UUID) -> Iterator[None]:
    """Hold the workspace's start lock (shared) while a step starts within this block.

    Killing the leftovers of a root step takes the same lock exclusively, so it cannot hit a process that is just
    starting.
    """
    with hold_lock(data_dir, str(workspace_id), shared=True):
        yield


class ProcessEnder:
    """Kills the processes of executions on this node.

    Args:
        containers: the container engine in which they run.
        database: lists the group ids of running executions; stores an event if a container had to be restarted.
        data_dir: the data directory of this node; its lock files keep starts and kills apart.
    """

    def __init__(self, containers: Containers, database: Database, data_dir: Path) -> None:
        self._containers = containers
        self._database = database
        self._data_dir = data_dir

    def end(self, processes: StepProcesses, *, grace_seconds: float) -> None:
        """Send TERM, wait ``grace_seconds``, send KILL; return when no process is left.

        If the step ran as root, every process in the container that belongs to no running execution is killed too.

        Raises:
            RelayError: the processes could not be killed, or that could not be verified; some of them may still run.
        """
        result = self._containers.kill_execution(processes.container_id, processes.gid, grace_seconds=grace_seconds)
        if processes.as_root and not result.restarted:
            result = self._end_processes_of_root(processes)
        self._check(processes, result)

    def try_to_end(self, processes: StepProcesses) -> bool:
        """Kill the processes without a grace period; return False if some may still run."""
        try:
            self.end(processes, grace_seconds=0)
        except RelayError as error:
            log.warning("processes of a step may still run", error=str(error))
            return False
        return True

    def _end_processes_of_root(self, processes: StepProcesses) -> KillResult:
        with hold_lock(self._data_dir, str(processes.workspace_id), shared=False):
            with self._database.connect() as connection:
                keep = owned.running_gids(connection, processes.workspace_id, but=processes.execution_id)
            return self._containers.end_leftovers(processes.container_id, keep)

    def _check(self, processes: StepProcesses, result: KillResult) -> None:
        if result.remaining:
            raise EngineUnavailable(f"{result.remaining} processes of the step could not be ended", retryable=True)
        if result.restarted:
            with self._database.begin() as connection:
                why = {"why": "processes of an execution could not be ended one by one"}
                events.append(connection, processes.workspace_id, EventKind.WORKSPACE_CONTAINER_RESTARTED, why)
