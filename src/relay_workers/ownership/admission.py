"""Whether this node takes new workspaces, and what follows: the pool's queue is consumed, or not.

Each claim decides for its own workspace, under the lock of the node's row (`relay_core.store.nodes.admission`). This
only keeps messages from coming here in vain: what is refused goes back, so that another node may take it.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil
import structlog

from relay_core.domain.message import QueueMessage, pool_queue
from relay_core.domain.nodes.room import Capacity
from relay_core.settings import Settings
from relay_workers.celery.intake import Intake

log = structlog.get_logger(__name__)

MOST_WAITING = 1000
"""Refused steps whose messages this worker sends again; others are found by the sweep."""


_KERNEL = Path("/proc/sys/kernel")


def capacity_of(settings: Settings) -> Capacity:
    """What this node may promise."""
    memory = settings.node_memory_bytes or psutil.virtual_memory().total
    return Capacity(settings.node_max_workspaces, memory, settings.node_pids or host_pids() * 3 // 4)


def host_pids(kernel: Path = _KERNEL) -> int:
    """Processes and threads that this host can have at one time."""
    return min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))


def why_disk_full(settings: Settings) -> str | None:
    """Why the disk takes no new workspace, or None."""
    free = shutil.disk_usage(settings.data_dir).free
    if free >= settings.node_min_free_bytes:
        return None
    return f"{free} bytes free, RELAY_NODE_MIN_FREE_BYTES is {settings.node_min_free_bytes}"


class Admission:
    """Closes the pool's queue while the node is full, and sends what was refused again; its own queue stays open."""

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self._pool = pool_queue(settings.pool)
        self.intake = intake
        self._lock = threading.Lock()
        self._waiting: dict[UUID, QueueMessage] = {}
        self._full: str | None = None
        self.look_soon: Callable[[], None] = lambda: None
        """Has `follow` called; set by the bootstrap."""

    def refused(self, message: QueueMessage) -> None:
        """A step found no room here. The next ones of its size would not either, so the pool's queue is closed."""
        if message.node_id is None:
            self.intake.want(self._pool, consumed=False)
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[message.execution_id] = message

    def room_made(self) -> None:
        """A step has ended here."""
        if self._full is not None or self._waiting:
            self.look_soon()

    def follow(self, full: str | None) -> list[QueueMessage]:
        """Open or close the pool's queue.

        Args:
            full: why the node takes no workspace of the usual size.

        Returns:
            Messages that are due again: of this node's own steps when it has room, of unplaced ones also when others
            may take them.
        """
        if full != self._full:
            log.info("the node takes new workspaces" if full is None else "the node takes no new workspace", why=full)
        self._full = full
        self.intake.want(self._pool, consumed=full is None)
        with self._lock:
            due = [message for message in self._waiting.values() if full is None or self._is_for_others(message)]
            for message in due:
                del self._waiting[message.execution_id]
        return due

    def _is_for_others(self, message: QueueMessage) -> bool:
        return message.node_id is None and not self.intake.consumes(self._pool)
