"""Finds differences between this node (its disk and container engine) and the rows in Postgres.

Finding changes nothing: `relay doctor` shows the same list that `divergence_sweep` repairs.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from relay_core.store.nodes import node_workspaces
from relay_core.store.nodes.node_workspaces import NodeWorkspace
from relay_core.store.transaction import Database
from relay_workers.containers.port import LABEL_WORKSPACE, Containers, OurContainer
from relay_workers.containers.run_files import executions_with_files
from relay_workers.host_files.first_edition import runs_of_first_edition, uuid_or_nil
from relay_workers.maintenance.divergence_repairs import DivergenceRepairs, is_unwanted

CONTAINER_GRACE_SECONDS = 600.0
"""Seconds between the report of an unwanted container and its removal, so that an operator can inspect it."""
VANISHED_GRACE_SECONDS = 10.0
"""Seconds for which a container must be missing before its workspace is marked as failed."""
FIRST_EDITION_SECONDS = 20.0
"""Seconds between two looks for log files that the first edition of Relay kept in workspaces; there are no new ones."""


@dataclass(frozen=True)
class Divergence:
    """One difference between this node and Postgres, and its repair."""

    kind: str
    """`container_without_workspace`, `container_vanished`, `raw_files` or `deleted_workspace`."""
    subject: str
    """Id of the container, the workspace or the execution, depending on `kind`."""
    message: str
    """Description of the difference, for people."""
    repair: Callable[[], None]
    """Checks again whether the difference still exists, and repairs it if so."""
    grace_seconds: float = 0.0
    """Seconds for which the difference must last before the divergence sweep repairs it."""
    on_found: Callable[[], None] | None = None
    """Called when a sweep finds it for the first time; None: nothing is."""
    on_gone: Callable[[], None] | None = None
    """Called when a sweep does not find it any more; None: nothing is."""


class DivergenceFinder:
    """Compares containers, run directories and workspaces of this node with their rows.

    Args:
        node_id: the id of this node.
        data_dir: the data directory of this node.
        database: stores the rows.
        containers: the container engine of this node.
        repairs: the repair of each kind of difference.
    """

    def __init__(
        self, node_id: str, data_dir: Path, database: Database, containers: Containers, repairs: DivergenceRepairs
    ) -> None:
        self._node_id = node_id
        self._data_dir = data_dir
        self._database = database
        self._containers = containers
        self._repairs = repairs
        self._first_edition_at = 0.0

    def find_all(self) -> list[Divergence]:
        """Return all differences at this moment.

        Raises:
            EngineUnavailable: the container engine does not answer.
        """
        containers = {  # listed before the rows are read: a row is always written before its container is made
            container.id: (container, workspace_id_of(container))
            for container in self._containers.list_ours(self._node_id)
        }
        with self._database.connect() as connection:
            named = {container.id: workspace_id for container, workspace_id in containers.values()}
            rows = node_workspaces.differing(connection, self._node_id, named)
            lost_all = len(rows.missing) > 1 and len(rows.missing) == node_workspaces.idle_count(
                connection, self._node_id
            )
        return [
            *self._unwanted_containers(containers.values(), rows.unneeded),
            *self._vanished_containers(rows.missing, lost_all=lost_all),
            *self._raw_files(),
            *self._deleted_workspaces(rows.deleted),
        ]

    def _unwanted_containers(
        self, containers: Collection[tuple[OurContainer, UUID]], rows: Mapping[UUID, NodeWorkspace | None]
    ) -> list[Divergence]:
        """Return a difference for each container with this node's label that no workspace needs any more."""
        divergences = []
        for container, workspace_id in containers:
            row = rows.get(workspace_id)
            if workspace_id in rows and is_unwanted(row):
                why = "there is no such workspace" if row is None else f"its workspace is {row.state}"
                message = f"container {container.name} carries this node's label, but {why}"
                repair = partial(self._repairs.remove_unwanted_container, container.id, workspace_id)
                kind = "container_without_workspace"
                divergences.append(
                    Divergence(
                        kind,
                        container.id,
                        message,
                        repair,
                        CONTAINER_GRACE_SECONDS,
                        on_found=partial(self._repairs.note_orphan, container.id, message),
                        on_gone=partial(self._repairs.note_orphan_removed, container.id),
                    )
                )
        return divergences

    def _vanished_containers(self, missing: Collection[NodeWorkspace], *, lost_all: bool) -> list[Divergence]:
        """Return a difference for each idle workspace whose container is gone. A running step reports the loss itself.

        If the engine lacks the containers of all idle workspaces (more than one), it is probably another engine or has
        lost its data: the operator then gets `CONTAINER_GRACE_SECONDS` to correct that.
        """
        hint = "; this engine has no container of this node: is it the right one?" if lost_all else ""
        return [
            Divergence(
                "container_vanished",
                str(row.id),
                f"workspace {row.id} has lost its container{hint}",
                partial(self._repairs.fail_workspace, row),
                CONTAINER_GRACE_SECONDS if lost_all else VANISHED_GRACE_SECONDS,
            )
            for row in missing
        ]

    def _raw_files(self) -> list[Divergence]:
        """Return a difference for each ended execution whose unmasked raw log files are still on disk.

        The complete log of these executions is in Postgres.
        """
        repairs = {
            execution_id: partial(self._repairs.remove_raw_files, execution_id)
            for execution_id in executions_with_files(self._data_dir)
        }
        for workspace_id, execution_id in self._runs_of_first_edition():
            repairs.setdefault(execution_id, partial(self._repairs.remove_runs, workspace_id, execution_id))
        with self._database.connect() as connection:
            finished = node_workspaces.finished(connection, repairs)
        return [
            Divergence(
                "raw_files",
                str(execution_id),
                f"raw log files of execution {execution_id} are stored and still on disk",
                repairs[execution_id],
            )
            for execution_id in sorted(finished)
        ]

    def _runs_of_first_edition(self) -> Iterable[tuple[UUID, UUID]]:
        """Return the runs of the first edition, for which every workspace is opened; none in between two looks."""
        now = time.monotonic()
        if now < self._first_edition_at:
            return ()
        self._first_edition_at = now + FIRST_EDITION_SECONDS
        return runs_of_first_edition(self._data_dir / "workspaces")

    def _deleted_workspaces(self, rows: Collection[NodeWorkspace]) -> list[Divergence]:
        """Return a difference for each deleted workspace that is idle and whose container or files are still here."""
        return [
            Divergence(
                "deleted_workspace",
                str(row.id),
                f"workspace {row.id} was deleted and is still on this node",
                partial(self._repairs.remove_deleted_workspace, row),
            )
            for row in rows
        ]


def workspace_id_of(container: OurContainer) -> UUID:
    """Return the workspace id in a container's label; the nil UUID if the label is missing or is no UUID."""
    return uuid_or_nil(container.labels.get(LABEL_WORKSPACE, ""))
