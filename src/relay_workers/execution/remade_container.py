"""Makes a new container for a workspace whose files are there: they were restored, or its directory was moved."""

from pathlib import Path
from threading import Event
from uuid import UUID

from relay_workers.execution.usable_image import Images
from relay_workers.execution.workspace import Workspaces
from relay_workers.execution.workspace_container import ContainerPlan, WorkspaceContainers


class RemadeContainers:
    """Makes containers of workspaces that were prepared before.

    Args:
        workspaces: rows and directories of workspaces.
        images: pulls an image that is not on the node any more.
        containers: makes the containers.
    """

    def __init__(self, workspaces: Workspaces, images: Images, containers: WorkspaceContainers) -> None:
        self._workspaces = workspaces
        self._images = images
        self._containers = containers

    def make(self, workspace_id: UUID) -> str:
        """Make the container of a workspace, start it and return its id. One that exists is removed before.

        Raises:
            StepFailed: the image cannot be had, or all user ids of the node are taken.
            EngineUnavailable: the container engine does not answer.
        """
        row = self._workspaces.row(workspace_id)
        image = self._images.ensure(row, Event(), lambda _: None)
        plan = ContainerPlan(row, self._workspaces.directory(row.id), image, self._containers.uid(row, image))
        self._containers.remove_stale(row.id)
        return self._containers.create(plan, [Path(repo.mirror_path) for repo in row.repos if repo.mirror_path])

    def remove(self, workspace_id: UUID) -> None:
        """Remove the container of a workspace, if there is one that its row does not name.

        Raises:
            EngineUnavailable: the container engine does not answer.
        """
        self._containers.remove_stale(workspace_id)
