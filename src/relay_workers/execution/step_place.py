"""Where and under which ids a step runs. All of this is known before its process is started."""

from dataclasses import dataclass

from relay_core.domain.logs.masking import SecretMask
from relay_core.store.executions.claim import Claimed
from relay_workers.containers.run_files import RunFiles
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.ownership.disk_cap import DiskCap
from relay_workers.ownership.step_processes import StepProcesses


@dataclass(frozen=True)
class StepPlace:
    """Where a step runs, and under which ids."""

    workspace: WorkspaceHandle
    files: RunFiles
    mask: SecretMask
    """Masks all texts of the step that are stored."""
    uid: int

    @property
    def disk_cap(self) -> DiskCap:
        """The limit on the disk space of the workspace, to which the logs of the step count."""
        return self.workspace.disk_cap._replace(logs=(self.files.directory,))

    @property
    def processes(self) -> StepProcesses:
        """The processes of the step."""
        return StepProcesses(self.workspace.row.id, self.workspace.container_id, self.files.key)


def step_uid(claimed: Claimed, workspace: WorkspaceHandle) -> int:
    """Return the user id of a step: 0 if it runs as root, else the workspace's."""
    return 0 if claimed.step.as_root else workspace.uid
