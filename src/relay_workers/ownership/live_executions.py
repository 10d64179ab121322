"""The executions that this worker process owns now, and the switches by which other threads control them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_workers.ownership.disk_cap import DiskCap
from relay_workers.ownership.live_secrets import LiveSecrets
from relay_workers.ownership.step_processes import StepProcesses


def boottime_seconds() -> float:
    """Return seconds on CLOCK_BOOTTIME.

    Unlike `time.monotonic` it goes on while the host is suspended, as leases do.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class OwnershipLost(Exception):  # noqa: N818 - an answer, not an error of the worker
    """This worker does not own the execution or gives it up: it writes nothing and leaves its processes alone."""


@dataclass(frozen=True)
class AskedEnd:
    """A limit for which another thread requested the end of an execution."""

    reason: Reason
    message: str | None
    """Text for clients; None if the text of the reason is enough."""


@dataclass
class ExecutionControl:
    """The switches of one live execution. Methods that set a switch also set `wake` and return immediately."""

    execution_id: UUID
    fence: int
    task_id: str
    """Celery's id of the task that carries out this attempt."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Set after every change that the execution's own thread must notice."""
    kill: threading.Event = field(default_factory=threading.Event)
    """Set when a client or operator requested a kill of the execution."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another worker owns the execution, or when this worker shuts down."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set together with `kill` and with `lost`; executions without a process (`clone`) wait for this single event."""
    made_at: float = field(default_factory=time.monotonic)
    """Time of the claim on the monotonic clock, in seconds."""
    taken_at: datetime | None = None
    """Mark of this worker's lease (`Renewal.taken_at`) when it certainly owned the execution; None: unknown."""

    processes: StepProcesses | None = None
    """Processes that may run now. None before the start, and after all have ended and the log is stored."""
    disk: DiskCap | None = None
    """The limit on the workspace's disk space; None until the workspace is open."""
    ended_by: AskedEnd | None = None
    """The first limit that another thread found exceeded (`ask_end`); None if there is none."""
    secrets: LiveSecrets | None = None
    """The secrets that are masked in the output; None if the workspace uses none, so that none can change."""
    on_ready: Callable[[], None] | None = None
    """Called once when the port of a dev server answers; None for other executions."""

    @classmethod
    def of(cls, claimed: Claimed) -> "ExecutionControl":
        """Make the control of an execution that was just claimed. `kill` is set if its row requests a kill."""
        control = cls(claimed.execution_id, claimed.fence, claimed.task_id, taken_at=claimed.taken_at)
        if claimed.kill_requested:
            control.ask_kill()
        return control

    def ask_kill(self) -> None:
        """Request that the execution's thread kills the processes, because a client or operator wants that."""
        self.kill.set()
        self.stop.set()
        self.wake.set()

    def ask_end(self, cap: Reason, message: str | None = None) -> None:
        """Request that the execution's thread kills the processes because a limit is exceeded.

        The first limit counts.

        Args:
            cap: the limit.
            message: text for clients that says more than the text of ``cap``; None if there is none.
        """
        self.ended_by = self.ended_by or AskedEnd(cap, message)
        self.wake.set()

    def let_go(self) -> None:
        """Request that the execution's thread leaves the execution: its processes go on, and it writes nothing more."""
        self.lost.set()
        self.stop.set()
        self.wake.set()


class LiveExecutions:
    """The live executions of this process by id. All methods are thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._controls: dict[UUID, ExecutionControl] = {}
        self._threads: Counter[UUID] = Counter()
        """Number of threads of this process that work on each execution, claimed or not."""
        self._closing = False

    @contextmanager
    def at_work(self, execution_id: UUID) -> Iterator[None]:
        """Count the calling thread as working on the execution, within the block.

        The block begins before the claim and ends after the execution.
        """
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
        """Return whether this process has stopped working on the execution, so that it may adopt the execution again.

        False for every execution once this worker shuts down: it adopts none of its own executions any more.

        Args:
            execution_id: the execution.
            but: number of working threads to ignore; 1 if the calling thread is itself counted.
        """
        with self._lock:
            return not self._closing and execution_id not in self._controls and self._threads[execution_id] <= but

    @contextmanager
    def holding(self, control: ExecutionControl) -> Iterator[ExecutionControl]:
        """List the execution as live within the block.

        If this worker shuts down already, call its `let_go` immediately.
        """
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
        """Return whether the execution with this Celery id is live here and this worker has not given it up."""
        return any(control.task_id == task_id and not control.lost.is_set() for control in self.all())

    def kill_task(self, task_id: str) -> bool:
        """Request a kill of the execution with this Celery id; return False if it is not live here."""
        found = [control for control in self.all() if control.task_id == task_id]
        for control in found:
            control.ask_kill()
        return bool(found)

    def all(self) -> list[ExecutionControl]:
        """Return a snapshot of the live executions."""
        with self._lock:
            return list(self._controls.values())

    @property
    def finished(self) -> bool:
        """Whether this worker shuts down and has left all of its executions."""
        with self._lock:
            return self._closing and not self._controls and not self._threads

    def let_all_go(self) -> None:
        """Call `let_go` of all live executions, and of all that are claimed later, because this worker shuts down."""
        with self._lock:
            self._closing = True
        for control in self.all():
            control.let_go()
