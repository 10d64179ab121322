"""Kills every process of an execution and verifies that none is left.

Kills by users, exceeded limits, processes that a step leaves behind and steps that raised an error all use this module.
"""

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.events import EventKind
from relay_core.store import events
from relay_core.store.transaction import Database
from relay_workers.containers.port import Containers, EngineUnavailable
from relay_workers.ownership.step_processes import StepProcesses

log = structlog.get_logger(__name__)


class ProcessEnder:
    """Kills the processes of executions on this node.

    Args:
        containers: the container engine in which they run.
        database: stores an event if a container had to be restarted.
    """

    def __init__(self, containers: Containers, database: Database) -> None:
        self._containers = containers
        self._database = database

    def end(self, processes: StepProcesses, *, grace_seconds: float) -> None:
        """Send TERM, wait ``grace_seconds``, send KILL; return when no process is left.

        Raises:
            RelayError: the processes could not be killed, or that could not be verified; some of them may still run.
        """
        result = self._containers.kill_execution(processes.container_id, processes.key, grace_seconds=grace_seconds)
        if result.remaining:
            raise EngineUnavailable(f"{result.remaining} processes of the step could not be ended", retryable=True)
        if result.restarted:
            with self._database.begin() as connection:
                why = {"why": "processes of an execution could not be ended one by one"}
                events.append(connection, processes.workspace_id, EventKind.WORKSPACE_CONTAINER_RESTARTED, why)

    def try_to_end(self, processes: StepProcesses) -> bool:
        """Kill the processes without a grace period; return False if some may still run."""
        try:
            self.end(processes, grace_seconds=0)
        except RelayError as error:
            log.warning("processes of a step may still run", error=str(error))
            return False
        return True
