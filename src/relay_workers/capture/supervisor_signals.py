"""Reports of a step's supervisor, read from the FIFO that it holds open for as long as it lives."""

import os
import threading
import time

FIFO_BYTES = 64 << 10
"""Capacity of a pipe."""
READS_OF_FIFO = 4
"""Largest number of reads in one go: the step can write to the FIFO too, and must not keep the pump busy for ever."""


class SupervisorSignals:
    """Start, exit and death of a supervisor, as events that stay set.

    Args:
        fd: the reading end of the FIFO; closed by `close`.
        started: the supervisor is known to have started (adoption). A FIFO without a writer reads as if the writer
            were dead, which counts only once there has been a writer.
    """

    def __init__(self, fd: int, *, started: bool) -> None:
        self.fd = fd
        self.started = threading.Event()
        self.exited = threading.Event()
        """The exit of the step is recorded."""
        self.dead = threading.Event()
        self.heard = threading.Event()
        """Set after the first read of the FIFO; before that, the absence of an exit proves nothing."""
        self._exited_at = 0.0
        if started:
            self.started.set()

    @property
    def exited_at(self) -> float | None:
        """Time of the exit on the monotonic clock, in seconds; None before."""
        return self._exited_at if self.exited.is_set() else None

    def read(self, *, hung_up: bool) -> None:
        """Read the FIFO; raises nothing.

        Args:
            hung_up: the kernel reports that the FIFO's writer is gone.
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
        """Close the FIFO; its events stay as they are."""
        os.close(self.fd)
