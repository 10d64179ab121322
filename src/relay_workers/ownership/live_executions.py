"""What this process runs right now, and how to reach it from other threads."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from relay_core.domain.vocabulary import Reason

if TYPE_CHECKING:  # which looks at controls
    from relay_workers.execution.ending import Processes
    from relay_workers.execution.live_secrets import LiveSecrets
    from relay_workers.ownership.disk_cap import DiskCap


def awake_and_asleep() -> float:
    """Seconds on a clock that goes on while the host is suspended, as leases do and `time.monotonic` does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Control:
    """The switches of one live execution; whoever sets one also sets `wake`."""

    execution_id: UUID
    fence: int
    task_id: str
    """Celery's id of this attempt."""
    wake: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)
    """End it: a person asked."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Leave it alone: it is another worker's now, or this worker is going away."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Either of the two: what a step without a process (a clone) waits for."""
    made_at: float = field(default_factory=time.monotonic)
    renewed_at: float = field(default_factory=awake_and_asleep)
    """When the renewal that was last granted was asked for, on the clock of `awake_and_asleep`."""

    processes: "Processes | None" = None
    """What may run of it now; None where nothing was started, or all of it is gone and its log stored."""
    disk: "DiskCap | None" = None
    """What its workspace may take; known once it is open."""
    ended_by: Reason | None = None
    """A cap that somebody beside its own thread watches, and that it has reached."""

    secrets: "LiveSecrets | None" = None
    """What is masked in its output, where that may change while it runs."""

    on_ready: Callable[[], None] | None = None
    """Called when a dev server's port answers."""

    def ask_kill(self) -> None:
        """Ask for the end; returns at once."""
        self.kill.set()
        self.stop.set()
        self.wake.set()

    def ask_end(self, cap: Reason) -> None:
        """End it for a cap; the first one stays; returns at once."""
        self.ended_by = self.ended_by or cap
        self.wake.set()

    def let_go(self) -> None:
        """Ask to leave the process running and touch nothing more; returns at once."""
        self.lost.set()
        self.stop.set()
        self.wake.set()


class LiveRuns:
    """The live executions of this process, by id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._controls: dict[UUID, Control] = {}
        self._at_work: Counter[UUID] = Counter()
        self._closing = False

    @contextmanager
    def at_work(self, execution_id: UUID) -> Iterator[None]:
        """A thread of this process is at an execution, from before it claims it until it has done with it."""
        with self._lock:
            self._at_work[execution_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[execution_id] -= 1
                if not self._at_work[execution_id]:
                    del self._at_work[execution_id]

    def is_left(self, execution_id: UUID, but: int = 0) -> bool:
        """Whether no thread of this process is at an execution, nor will be; ``but`` so many of those that were told.

        A worker that goes away leaves nothing to itself.
        """
        with self._lock:
            return not self._closing and execution_id not in self._controls and self._at_work[execution_id] <= but

    @contextmanager
    def holding(self, control: Control) -> Iterator[Control]:
        """Known here for the length of the block."""
        with self._lock:
            self._controls[control.execution_id] = control
            if self._closing:
                control.let_go()
        try:
            yield control
        finally:
            with self._lock:
                if self._controls.get(control.execution_id) is control:
                    del self._controls[control.execution_id]

    def has_task(self, task_id: str) -> bool:
        """Whether the run with this Celery id is ours and here; one that was let go is not."""
        return any(control.task_id == task_id and not control.lost.is_set() for control in self.all())

    def kill_task(self, task_id: str) -> bool:
        """Ask for the end of the run with this Celery id; False when it is not here."""
        found = [control for control in self.all() if control.task_id == task_id]
        for control in found:
            control.ask_kill()
        return bool(found)

    def all(self) -> list[Control]:
        """A snapshot."""
        with self._lock:
            return list(self._controls.values())

    def let_all_go(self) -> None:
        """This worker goes away; the processes stay. What is claimed from now on is let go at once, too."""
        with self._lock:
            self._closing = True
        for control in self.all():
            control.let_go()
