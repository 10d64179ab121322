"""How the processes of one execution are named in its container: by the start that relay-pid1 carried out."""

from dataclasses import dataclass
from uuid import UUID

from relay_core.store.executions.leftovers import Leftover
from relay_workers.containers.pid1.messages import Key


@dataclass(frozen=True)
class StepProcesses:
    """The processes of one start of an execution, and the container in which they run."""

    workspace_id: UUID
    container_id: str
    key: Key

    @classmethod
    def of_leftover(cls, leftover: Leftover) -> "StepProcesses | None":
        """Return the processes that an ended execution may have left; None if none was prepared."""
        if leftover.container_id is None or leftover.fence is None:
            return None
        return cls(leftover.workspace_id, leftover.container_id, Key(leftover.execution_id, leftover.fence))
