"""What this process runs right now, and how to reach it from other threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class Control:
    """The switches of one live execution; whoever sets one also sets `wake`."""

    execution_id: UUID
    fence: int
    wake: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)
    """End it: a person asked."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Leave it alone: it is another worker's now, or this worker is going away."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Either of the two: what a step without a process (a clone) waits for."""

    on_ready: Callable[[], None] | None = None
    """Called when a dev server's port answers."""

    def ask_kill(self) -> None:
        """Ask for the end; returns at once."""
        self.kill.set()
        self.stop.set()
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

    @contextmanager
    def holding(self, control: Control) -> Iterator[Control]:
        """Known here for the length of the block."""
        with self._lock:
            self._controls[control.execution_id] = control
        try:
            yield control
        finally:
            with self._lock:
                if self._controls.get(control.execution_id) is control:
                    del self._controls[control.execution_id]

    def kill(self, execution_id: UUID) -> bool:
        """Ask for the end of one; False when it is not here."""
        with self._lock:
            control = self._controls.get(execution_id)
        if control is None:
            return False
        control.ask_kill()
        return True

    def all(self) -> list[Control]:
        """A snapshot."""
        with self._lock:
            return list(self._controls.values())

    def let_all_go(self) -> None:
        """This worker goes away; the processes stay."""
        for control in self.all():
            control.let_go()
