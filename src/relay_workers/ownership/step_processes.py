"""How the processes of one execution are recognised in its container: by a group id of their own."""

from dataclasses import dataclass
from uuid import UUID

from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.leftovers import Leftover


@dataclass(frozen=True)
class StepProcesses:
    """The processes of one execution, and the container in which they run."""

    execution_id: UUID
    workspace_id: UUID
    container_id: str
    gid: int
    """Group id that only processes of this execution have."""
    as_root: bool
    """Whether the step ran as root, so that its processes may have changed their group id."""

    @classmethod
    def of(cls, claimed: Claimed, container_id: str, uid: int) -> "StepProcesses":
        """Return the processes of a claimed execution whose step runs as ``uid``."""
        return cls(claimed.execution_id, claimed.workspace_id, container_id, claimed.gid, as_root=uid == 0)

    @classmethod
    def of_leftover(cls, leftover: Leftover) -> "StepProcesses | None":
        """Return the processes that an ended execution may have left; None if it had no container or no group id."""
        if leftover.container_id is None or leftover.gid is None:
            return None
        gid, as_root = leftover.gid, leftover.as_root
        return cls(leftover.execution_id, leftover.workspace_id, leftover.container_id, gid, as_root)
