"""Decides whether this worker consumes its pool's queue, depending on the free capacity of its node.

The decision about a single workspace is made by each claim, under the lock of the node's row
(`relay_core.store.nodes.placement`). This module only avoids useless messages to a full node. The message of a step
that was refused here is sent again, so that another node can take it.
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
from relay_workers.host_files.bounded_look import BoundedLook

log = structlog.get_logger(__name__)

MOST_WAITING = 1000
"""Largest number of refused steps that this worker remembers. The `messages` clock sends the messages of all others."""
FRESH_SECONDS = 0.5
"""Age up to which the free space of the disk is not asked for again, so that not every claim asks."""

_KERNEL = Path("/proc/sys/kernel")


def capacity_of(settings: Settings) -> Capacity:
    """Return the number of workspaces, the bytes of memory and the number of processes that this node may promise."""
    memory = settings.node_memory_bytes or psutil.virtual_memory().total
    return Capacity(settings.node_max_workspaces, memory, settings.node_pids or host_pids() * 3 // 4)


def host_pids(kernel: Path = _KERNEL) -> int:
    """Return the largest number of processes and threads that this host can have at one time."""
    return min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))


class QueueIntake(Protocol):
    """The switch that opens and closes a worker's queues (`relay_workers.celery.intake.Intake`)."""

    def want(self, queue: str, *, consumed: bool) -> None:
        """Request that this worker consumes a queue, or stops to consume it; returns immediately."""

    def consumes(self, queue: str) -> bool:
        """Return whether this worker receives messages of a queue at present."""
        ...


class Admission:
    """Closes the pool's queue while the node is full, and sends refused messages again.

    The node's own queue stays open.

    Args:
        settings: the settings of this worker: its pool, its data directory and the space that must stay free there.
        intake: opens and closes the pool's queue.
    """

    def __init__(self, settings: Settings, intake: QueueIntake) -> None:
        self._pool = pool_queue(settings.pool)
        self._min_free_bytes = settings.node_min_free_bytes
        self._disk = BoundedLook("free-space", lambda: shutil.disk_usage(settings.data_dir).free)
        self._intake = intake
        self._lock = threading.Lock()
        self._waiting: dict[UUID, QueueMessage] = {}
        self._full: str | None = None
        self.look_soon: Callable[[], None] = lambda: None
        """Makes the `admission` clock, which calls `follow`, tick immediately; `maintenance.clocks` sets it."""

    def why_disk_full(self) -> str | None:
        """Return why the disk can take no new workspace; None if it has enough space.

        It waits a moment at most: a disk that does not answer takes none.
        """
        seen = self._disk.look(FRESH_SECONDS)
        if seen.value is None:
            return f"the disk of its data directory {seen.problem}"
        if seen.value >= self._min_free_bytes:
            return None
        return f"{seen.value} bytes free, RELAY_NODE_MIN_FREE_BYTES is {self._min_free_bytes}"

    def refused(self, message: QueueMessage) -> None:
        """Remember the message of a step for which this node had no free capacity.

        If its workspace is not on a node yet, this also closes the pool's queue, because further steps of its size
        would be refused as well.
        """
        if message.node_id is None:
            self._intake.want(self._pool, consumed=False)
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[message.execution_id] = message

    def room_made(self) -> None:
        """Check soon whether refused steps can start now, because an execution ended here."""
        if self._full is not None or self._waiting:
            self.look_soon()

    def follow(self, full: str | None) -> list[QueueMessage]:
        """Open or close the pool's queue, and return the messages that should be sent again.

        Args:
            full: why the node takes no workspace of the default size; None if it does.

        Returns:
            All messages of refused steps if the node has free capacity. Otherwise only those of workspaces that are on
            no node yet, once this worker has stopped to consume the pool's queue: other nodes may take them.
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
