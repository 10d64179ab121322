"""The Celery message of an execution: its content (execution id and attempt), its queue, task id and description."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from relay_core.domain.vocabulary import RunReason

_NAMESPACE = UUID("6f6b5f0e-3c53-4b9a-9a55-6f8e2a3d7c10")


MOST_SHOWN = 200
"""Most characters of one text in the description of a message."""


@dataclass(frozen=True)
class MessageDescription:
    """Facts about an execution that listeners of Celery's events, such as Flower, see beside the message.

    It contains neither a prompt nor a secret, because each user of Flower sees the tasks of all owners.
    """

    title: str | None
    """Title of the task, or name of the project that is cloned; None if Relay made it from the prompt."""
    repositories: Sequence[str]
    """URLs without credentials."""
    workspace_id: UUID | None
    """None: the execution clones a project without a workspace."""
    run_id: UUID | None = None
    """None: the execution belongs to no run, as a dev server does."""

    def shown(self) -> dict[str, str]:
        """Return the facts as texts by name; long texts are cut."""
        facts = {
            "title": self.title or "",
            "repository": ", ".join(self.repositories),
            "workspace": str(self.workspace_id or ""),
            "run": str(self.run_id or ""),
        }
        return {name: _cut(text) for name, text in facts.items() if text}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


@dataclass(frozen=True)
class QueueMessage:
    """A message to send through Celery after the transaction that wrote the execution is committed."""

    execution_id: UUID
    attempt: int
    run_reason: RunReason
    pool: str
    node_id: str | None
    """Node that holds the workspace. None: not placed yet, so any node of the pool may take the message."""
    description: MessageDescription | None = field(default=None, compare=False)
    """Facts for people, which no worker reads; None: they were not looked up."""

    @property
    def task_id(self) -> str:
        """Celery's task id. All copies of a message share it: Flower shows one task, and a revoke reaches each copy."""
        return task_id(self.execution_id, self.attempt)

    @property
    def queue(self) -> str:
        """Name of the queue: the node's own queue once the workspace is placed, else the pool's."""
        return node_queue(self.node_id) if self.node_id else pool_queue(self.pool)


def task_id(execution_id: UUID, attempt: int) -> str:
    """Return Celery's task id of one attempt of an execution; the same arguments always give the same id."""
    return str(uuid5(_NAMESPACE, f"{execution_id}:{attempt}"))


def task_name(reason: RunReason) -> str:
    """Return the name of the Celery task that runs executions of a kind."""
    return f"relay.{reason}"


def pool_queue(pool: str) -> str:
    """Return the name of the queue from which any node of the pool may take messages."""
    return f"pool.{pool}"


def node_queue(node_id: str) -> str:
    """Return the name of the queue from which only one node takes messages."""
    return f"node.{node_id}"
