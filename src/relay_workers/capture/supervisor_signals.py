"""Reads the reports of a step's supervisor from the FIFO that it holds open as long as it lives."""

import os
import threading
import time

FIFO_BYTES = 64 << 10
"""The capacity of a pipe in bytes."""
READS_OF_FIFO = 4
"""The maximum number of reads per call: the step can write to the FIFO, too, and must not keep the pump busy."""


class SupervisorSignals:
    """The start, exit and death of a supervisor, as events that stay set.

    Args:
        fd: the reading end of the FIFO; `close` closes it.
        started: whether the supervisor is known to have started, because this worker takes over a running execution. A
            FIFO without a writer counts as the supervisor's death only after it had a writer.

    Attributes:
        started: set once the supervisor has started.
        dead: set once the supervisor process is gone.
    """

    def __init__(self, fd: int, *, started: bool) -> None:
        self.fd = fd
        self.started = threading.Event()
        self.exited = threading.Event()
        """Set once the step's exit is recorded."""
        self.dead = threading.Event()
        self.heard = threading.Event()
        """Set after the first read of the FIFO; before that, an unset `exited` proves nothing."""
        self._exited_at = 0.0
        if started:
            self.started.set()

    @property
    def exited_at(self) -> float | None:
        """The monotonic time of the step's exit in seconds; None if it has not exited."""
        return self._exited_at if self.exited.is_set() else None

    def read(self, *, hung_up: bool) -> None:
        """Read the FIFO and set the events. Raise nothing.

        Args:
            hung_up: whether the kernel reports that the FIFO's writer is gone.
        """
        data = b"?"
        for _ in range(READS_OF_FIFO):
            try:
                data = os.read(self.fd, FIFO_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            if b"s" in data:
                self.started.set()
            if b"x" in data and not self.exited.is_set():
                self._exited_at = time.monotonic()
                self.exited.set()
        if not data and (hung_up or self.started.is_set()):
            self.dead.set()
        self.heard.set()

    def close(self) -> None:
        """Close the FIFO; the events keep their state."""
        os.close(self.fd)
