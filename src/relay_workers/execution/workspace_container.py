"""Makes the container of a workspace: chooses its user id, specifies it, and removes it if the preparation fails."""

import os
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.vocabulary import Reason, WorkspaceState
from relay_core.settings import Settings
from relay_core.store.outage import SQLAlchemyError
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation, workspace_row
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.containers.docker.user import free_uid, has_account, resolve_uid
from relay_workers.containers.port import (
    Account,
    ContainerLimits,
    Containers,
    ContainerSpec,
    ImageInfo,
    container_name,
    identity_labels,
)
from relay_workers.execution.environment import HOME, container_environment
from relay_workers.ownership.admission import capacity_of
from relay_workers.ownership.node_identity import container_uid
from relay_workers.ownership.node_lock import container_creation, container_removal

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ContainerPlan:
    """A workspace whose image and user id are known, so that its container can be made."""

    row: WorkspaceRow
    directory: Path
    image: ImageInfo
    uid: int


class WorkspaceContainers:
    """Makes the containers of workspaces.

    Args:
        settings: limits, network and environment of containers.
        containers: the container engine.
        database: reserves user ids.
        node_id: the id of this node.
    """

    def __init__(self, settings: Settings, containers: Containers, database: Database, node_id: str) -> None:
        self._settings = settings
        self._containers = containers
        self._database = database
        self._node_id = node_id

    @property
    def processors(self) -> int:
        """The number of processors of the container engine's host."""
        return self._containers.platform()[1]

    def uid(self, row: WorkspaceRow, image: ImageInfo) -> int:
        """Return the user id of the workspace's steps. It never changes, because the workspace's files belong to it.

        Raises:
            StepFailed: `engine_error`: all user ids of the node's range are taken.
        """
        if row.uid is not None:
            return row.uid
        named = resolve_uid(row.requested_uid, image.uid, container_uid(self._settings))
        if named is not None:
            return named
        span = self._settings.container_uid_range
        with self._database.begin() as connection:
            uid = preparation.reserve_uid(
                connection, row.id, self._node_id, lambda taken: free_uid(row.id, span, taken, has_account)
            )
        if uid is None:
            uids = f"RELAY_CONTAINER_UIDS ({span.start}-{span.stop - 1})"
            message = f"all uids of {uids} are used by workspaces of this node"
            raise StepFailed(Reason.ENGINE_ERROR, f"{message}; delete workspaces or give a wider range")
        return uid

    def create(self, plan: ContainerPlan, mirrors: list[Path]) -> str:
        """Make the container of a workspace, start it and return its id. If it exists already, it is used.

        Args:
            plan: the workspace, with its image and user id.
            mirrors: directories of git mirrors that the container mounts, because the clones borrow objects from them.
        """
        with container_creation(self._settings.data_dir, plan.row.id):
            return self._containers.ensure_container(self._spec(plan, mirrors))

    def remove_stale(self, workspace_id: UUID) -> None:
        """Remove the container of a workspace that was made for another place of its directory, if there is one."""
        self._containers.remove(container_name(str(workspace_id)))

    def discard(self, workspace_id: UUID, container: "Future[str]", *, late: bool) -> None:
        """Remove the container of a workspace whose preparation failed.

        On an error the divergence sweep removes it later.

        Args:
            workspace_id: the workspace.
            container: the result of `create`: the container's id, or an error, which means that there is no container.
            late: whether the engine made the container only after the preparation had failed. A retry of the
                preparation may have begun by then and use the container; so it is removed only if the workspace is
                still `failed` and `create` is not running, under a lock that `create` waits for.
        """
        if container.exception() is not None:
            return
        try:
            if not late:
                self._containers.remove(container.result())
                return
            with container_removal(self._settings.data_dir, workspace_id) as locked:
                if locked and self._state(workspace_id) is WorkspaceState.FAILED:
                    self._containers.remove(container.result())
        except (RelayError, SQLAlchemyError) as error:
            log.warning("a container is left to a sweep", workspace_id=str(workspace_id), error=str(error))

    def _state(self, workspace_id: UUID) -> WorkspaceState:
        with self._database.connect() as connection:
            return workspace_row.load(connection, workspace_id).state

    def _spec(self, plan: ContainerPlan, mirrors: list[Path]) -> ContainerSpec:
        limits = plan.row.limits
        cpus = min(limits.cpus, self.processors)
        pids = min(limits.pids, capacity_of(self._settings).pids or limits.pids)  # no container may take all of a host
        name = container_name(str(plan.row.id))
        return ContainerSpec(
            name=name,
            image=plan.image.id,
            labels=identity_labels(self._node_id, str(plan.row.id)),
            workspace_dir=plan.directory,
            programs_dir=self._settings.data_dir / "supervisor",
            channel_dir=self._settings.data_dir / "channels" / name,
            limits=ContainerLimits(limits.memory_bytes, cpus, pids, limits.nofile),
            account=Account(plan.uid, HOME),
            network=self._settings.container_network,
            mirror_dirs=tuple(mirrors),
            env=container_environment(self._settings, os.environ),
            ca_bundle=self._settings.ca_bundle,
        )
