"""Executions that this worker process owns at the moment, and the switches by which other threads reach them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_workers.ownership.disk_cap import DiskCap
from relay_workers.ownership.live_secrets import LiveSecrets
from relay_workers.ownership.step_processes import StepProcesses


def boottime_seconds() -> float:
    """Seconds on CLOCK_BOOTTIME, which counts while the host is suspended, as leases do; `time.monotonic` does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class OwnershipLost(Exception):  # noqa: N818 - an answer, not an error of the worker
    """This worker does not own the execution, or gives it up: it writes nothing and touches no process of it."""


@dataclass
class ExecutionControl:
    """The switches of one live execution. Each method that sets a switch also sets `wake` and returns at once."""

    execution_id: UUID
    fence: int
    task_id: str
    """Celery's id of this attempt."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Set after every change that the execution's own thread has to look at."""
    kill: threading.Event = field(default_factory=threading.Event)
    """Set when a client or operator asked to end the execution."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another worker owns the execution, or this worker shuts down."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set with `kill` and with `lost`: steps without a process (a clone) wait for this one event."""
    made_at: float = field(default_factory=time.monotonic)
    """Time of the claim on the monotonic clock, in seconds."""
    renewed_at: float = field(default_factory=boottime_seconds)
    """Time at which the last granted renewal of the lease was requested, on the clock of `boottime_seconds`."""

    processes: StepProcesses | None = None
    """Processes that may run now; None before the start, and after all of them ended and the log was stored."""
    disk: DiskCap | None = None
    """Disk limit of the workspace; None until the workspace is open."""
    ended_by: Reason | None = None
    """The first cap that another thread found exceeded (`ask_end`)."""
    secrets: LiveSecrets | None = None
    """Secrets masked in the output; None where the workspace uses none, so that none can change."""
    on_ready: Callable[[], None] | None = None
    """Called when the port of a dev server answers."""

    @classmethod
    def of(cls, claimed: Claimed) -> "ExecutionControl":
        """Switches of an execution that was just claimed; `kill` is set where the row asks for it."""
        control = cls(claimed.execution_id, claimed.fence, claimed.task_id)
        if claimed.kill_requested:
            control.ask_kill()
        return control

    def ask_kill(self) -> None:
        """Ask the execution's thread to end the processes, because a client or operator wants that."""
        self.kill.set()
        self.stop.set()
        self.wake.set()

    def ask_end(self, cap: Reason) -> None:
        """Ask the execution's thread to end the processes for a cap; the first cap stays."""
        self.ended_by = self.ended_by or cap
        self.wake.set()

    def let_go(self) -> None:
        """Ask the execution's thread to leave: its processes go on, and it writes nothing more."""
        self.lost.set()
        self.stop.set()
        self.wake.set()


class LiveExecutions:
    """The live executions of this process by id; all methods are thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._controls: dict[UUID, ExecutionControl] = {}
        self._threads: Counter[UUID] = Counter()
        """Threads of this process that work at an execution, claimed or not."""
        self._closing = False

    @contextmanager
    def at_work(self, execution_id: UUID) -> Iterator[None]:
        """Count the calling thread as one that works at the execution, from before its claim to after its end."""
        with self._lock:
            self._threads[execution_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._threads[execution_id] -= 1
                if not self._threads[execution_id]:
                    del self._threads[execution_id]

    def is_left(self, execution_id: UUID, but: int = 0) -> bool:
        """Whether at most ``but`` threads of this process work at the execution, so that it may be adopted again.

        False for every execution once this worker shuts down: it adopts nothing of its own any more.
        """
        with self._lock:
            return not self._closing and execution_id not in self._controls and self._threads[execution_id] <= but

    @contextmanager
    def holding(self, control: ExecutionControl) -> Iterator[ExecutionControl]:
        """List the execution as live for the length of the block; it is let go at once while this worker shuts down."""
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
        """Whether the execution with this Celery id is live here and was not let go."""
        return any(control.task_id == task_id and not control.lost.is_set() for control in self.all())

    def kill_task(self, task_id: str) -> bool:
        """Ask to end the execution with this Celery id; False when it is not live here."""
        found = [control for control in self.all() if control.task_id == task_id]
        for control in found:
            control.ask_kill()
        return bool(found)

    def all(self) -> list[ExecutionControl]:
        """A snapshot of the live executions."""
        with self._lock:
            return list(self._controls.values())

    def let_all_go(self) -> None:
        """Let all live executions go, and all that are claimed from now on: this worker shuts down."""
        with self._lock:
            self._closing = True
        for control in self.all():
            control.let_go()
