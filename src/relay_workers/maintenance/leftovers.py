"""Kills processes that ended executions left on this node ("leftovers").

An execution leaves processes if it is ended in Postgres while its node or the container engine does not answer. Until
they are gone, `store.executions.claim` lets no execution start in their workspace.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import RunReason
from relay_core.store.executions.leftovers import Leftover, forget_leftover, leftovers
from relay_core.store.transaction import Database
from relay_workers.containers.port import Containers
from relay_workers.containers.run_files import remove_files
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.partial_evidence import PartialEvidence
from relay_workers.execution.workspace import workspace_dir
from relay_workers.git.port import Git
from relay_workers.host_files.anchors import own_place
from relay_workers.host_files.first_edition import remove_runs
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership.step_processes import StepProcesses

log = structlog.get_logger(__name__)


class Leftovers:
    """Kills the leftovers of one node.

    Args:
        node_id: the id of the node.
        data_dir: the data directory of the node.
        database: lists the executions that left processes; after a commit it sends the messages of executions that can
            start now.
        containers: the container engine in which the processes run.
        git: removes the files of workspaces that were placed on another node since.
        evidence: reads HEAD of the repositories after the kill.
    """

    def __init__(
        self,
        node_id: str,
        data_dir: Path,
        database: Database,
        containers: Containers,
        git: Git,
        evidence: PartialEvidence,
    ) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._git = git
        self._evidence = evidence
        self._ender = ProcessEnder(containers, database)

    def sweep(self) -> int:
        """Kill the leftovers of the node; return the number of executions whose processes are gone now.

        If processes cannot be killed, the next sweep tries again.
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
        states = self._states(leftover)
        self._remove_files(leftover)
        with self._database.begin() as connection:
            forget_leftover(connection, leftover, self._node_id, states)

    def _states(self, leftover: Leftover) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the git state of the repositories, which no other step of the workspace has changed since."""
        if leftover.elsewhere or leftover.run_reason == RunReason.CLONE:
            return {}
        return self._evidence.heads(leftover.workspace_id)

    def _remove_files(self, leftover: Leftover) -> None:
        """Remove the raw log files: they are unmasked, and the stored log is closed, so they cannot be stored any more.

        If the workspace belongs to another node now, it was never prepared here, and all of its files are removed.
        """
        directory = workspace_dir(self._data_dir, leftover.workspace_id)
        try:
            remove_files(self._data_dir, leftover.execution_id)
            if leftover.elsewhere:
                place = own_place(self._data_dir, leftover.workspace_id)
                self._git.remove_workspace(leftover.workspace_id, place)
                return
            remove_runs(directory, str(leftover.execution_id))
        except (TamperedFile, OSError) as error:
            log.warning("raw log files stay on disk", execution_id=str(leftover.execution_id), error=str(error))
