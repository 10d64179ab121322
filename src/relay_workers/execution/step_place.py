"""The place of a step: its workspace, run directory, mask and group id, which are known without its process."""

from dataclasses import dataclass

from relay_core.domain.logs.masking import SecretMask
from relay_core.secret_box import SecretBox
from relay_core.store.executions.lifecycle import Claimed
from relay_workers.execution.secret_values import to_mask
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.host_files.run_dir import RunDir
from relay_workers.ownership.step_processes import StepProcesses


@dataclass(frozen=True)
class StepPlace:
    """Where a step runs, and under which ids."""

    workspace: WorkspaceHandle
    run_dir: RunDir
    mask: SecretMask
    """Masks all texts that are stored of the step."""
    uid: int
    processes: StepProcesses

    @classmethod
    def of(cls, claimed: Claimed, workspace: WorkspaceHandle, secrets: SecretBox, fence: int) -> "StepPlace":
        """The place of a claimed execution's step.

        Args:
            claimed: the execution.
            workspace: in which it runs.
            secrets: decrypts the values to mask.
            fence: of the owner that started, or starts, the process.

        Raises:
            StepFailed: `secret_missing`: a value to mask cannot be decrypted.
        """
        uid = step_uid(claimed, workspace)
        return cls(
            workspace,
            RunDir(workspace.directory, str(claimed.execution_id), fence),
            SecretMask(to_mask(secrets, workspace.row)),
            uid,
            StepProcesses.of(claimed, workspace.container_id, uid),
        )


def step_uid(claimed: Claimed, workspace: WorkspaceHandle) -> int:
    """The user id of a step: 0 where it asks for root, else the workspace's."""
    return 0 if claimed.step.as_root else workspace.uid
