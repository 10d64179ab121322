"""What a queue message carries, and where it goes: an execution id and an attempt, nothing else."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from relay_core.domain.vocabulary import RunReason

_NAMESPACE = UUID("6f6b5f0e-3c53-4b9a-9a55-6f8e2a3d7c10")


@dataclass(frozen=True)
class QueueMessage:
    """A doorbell to ring once the transaction that wrote the row has been committed."""

    execution_id: UUID
    attempt: int
    run_reason: RunReason
    pool: str
    node_id: str | None
    """Null while unplaced: then any node of the pool may take it."""

    @property
    def task_id(self) -> str:
        """The same for every copy of the message, so that Flower shows one task and a revoke reaches them all."""
        return task_id(self.execution_id, self.attempt)

    @property
    def queue(self) -> str:
        """The node's own queue once placed, else the pool's."""
        return node_queue(self.node_id) if self.node_id else pool_queue(self.pool)


def task_id(execution_id: UUID, attempt: int) -> str:
    """Celery's id of one attempt at an execution."""
    return str(uuid5(_NAMESPACE, f"{execution_id}:{attempt}"))


def task_name(reason: RunReason) -> str:
    """Celery's name of the task that runs it."""
    return f"relay.{reason}"


def pool_queue(pool: str) -> str:
    """Queue of work that any node of the pool may take."""
    return f"pool.{pool}"


def node_queue(node_id: str) -> str:
    """Queue of work that belongs to one node."""
    return f"node.{node_id}"
