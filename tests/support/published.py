"""A publisher that keeps what committed transactions sent, in place of Celery."""

from collections.abc import Iterable, Sequence
from typing import Any

from relay_core.domain.message import QueueMessage


class Published:
    """Messages and task ids that were sent, in order."""

    def __init__(self) -> None:
        self.messages: list[QueueMessage] = []
        self.task_ids: list[str] = []

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Keep messages."""
        self.messages += messages

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Keep task ids."""
        self.task_ids += task_ids

    def dispatch_again(self, undispatched: Sequence[Any]) -> int:
        """Keep the messages that seem to be lost."""
        lost = [message for queue in undispatched for message in queue.messages]
        self.messages += lost
        return len(lost)

    def take(self) -> list[QueueMessage]:
        """The messages since the last call."""
        taken, self.messages = self.messages, []
        return taken
