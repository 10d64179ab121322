"""Whether this node takes new workspaces. The answer opens or closes the pool's queue for this worker.

Each claim decides for its own workspace, under the lock of the node's row (`relay_core.store.nodes.placement`). This
module only prevents that messages come here in vain: the message of a refused step is sent again, so that another node
may take it.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from uuid import UUID

import psutil
import structlog

from relay_core.domain.message import QueueMessage, pool_queue
from relay_core.domain.nodes import Capacity
from relay_core.settings import Settings

log = structlog.get_logger(__name__)

MOST_WAITING = 1000
"""Largest number of refused steps whose messages this worker sends again; a sweep finds all others."""


_KERNEL = Path("/proc/sys/kernel")


def capacity_of(settings: Settings) -> Capacity:
    """The number of workspaces, bytes of memory and processes that this node may promise."""
    memory = settings.node_memory_bytes or psutil.virtual_memory().total
    return Capacity(settings.node_max_workspaces, memory, settings.node_pids or host_pids() * 3 // 4)


def host_pids(kernel: Path = _KERNEL) -> int:
    """The number of processes and threads that this host can have at one time."""
    return min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))


def why_disk_full(settings: Settings) -> str | None:
    """The reason why the disk takes no new workspace; None where it does."""
    free = shutil.disk_usage(settings.data_dir).free
    if free >= settings.node_min_free_bytes:
        return None
    return f"{free} bytes free, RELAY_NODE_MIN_FREE_BYTES is {settings.node_min_free_bytes}"


class QueueIntake(Protocol):
    """The switch of a worker's queues (`relay_workers.celery.intake.Intake`)."""

    def want(self, queue: str, *, consumed: bool) -> None:
        """Have a queue consumed, or not; returns at once."""

    def consumes(self, queue: str) -> bool:
        """Whether messages of a queue may come to this worker at present."""
        ...


class Admission:
    """Closes the pool's queue while the node is full, and sends refused messages again.

    The node's own queue stays open.

    Args:
        settings: of this worker; its pool counts here.
        intake: switches the pool's queue.
    """

    def __init__(self, settings: Settings, intake: QueueIntake) -> None:
        self._pool = pool_queue(settings.pool)
        self._intake = intake
        self._lock = threading.Lock()
        self._waiting: dict[UUID, QueueMessage] = {}
        self._full: str | None = None
        self.look_soon: Callable[[], None] = lambda: None
        """Makes the clock of `follow` tick at once; set by the bootstrap."""

    def refused(self, message: QueueMessage) -> None:
        """Note a step that found no room on this node.

        An unplaced one also closes the pool's queue, as the next steps of its size would find no room either.
        """
        if message.node_id is None:
            self._intake.want(self._pool, consumed=False)
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[message.execution_id] = message

    def room_made(self) -> None:
        """Look soon whether refused steps find room now: an execution ended here."""
        if self._full is not None or self._waiting:
            self.look_soon()

    def follow(self, full: str | None) -> list[QueueMessage]:
        """Open or close the pool's queue.

        Args:
            full: the reason why the node takes no workspace of the usual size; None where it does.

        Returns:
            Messages to send again: those of this node's own steps when it has room, and those of unplaced steps also
            when other nodes may take them.
        """
        if full != self._full:
            log.info("the node takes new workspaces" if full is None else "the node takes no new workspace", why=full)
        self._full = full
        self._intake.want(self._pool, consumed=full is None)
        with self._lock:
            due = [message for message in self._waiting.values() if full is None or self._is_for_others(message)]
            for message in due:
                del self._waiting[message.execution_id]
        return due

    def _is_for_others(self, message: QueueMessage) -> bool:
        return message.node_id is None and not self._intake.consumes(self._pool)
