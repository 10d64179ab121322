"""Reads the start and the end of a step from its record, which relay-pid1 writes and holds under a lock."""

import os
import threading
import time

from relay_workers.containers.pid1.answers import ExecutionStatus, How
from relay_workers.containers.pid1.record import SIZE, decode
from relay_workers.host_files.file_lock import is_open_file_locked


class StepSignals:
    """The start, the exit and the end of a step, as events that stay set.

    Args:
        fd: the record, open for reading; `close` closes it.
        started: whether the step is known to have started, because this worker takes it over. A record that relay-pid1
            does not hold means that the step is over only after a start.

    Attributes:
        started: set once the step has started.
        dead: set once no process writes the log any more: the step, its descendants and its log have ended, or the
            container has.
    """

    def __init__(self, fd: int, *, started: bool) -> None:
        self.fd = fd
        self.started = threading.Event()
        self.exited = threading.Event()
        """Set once the step's exit is recorded."""
        self.dead = threading.Event()
        self.heard = threading.Event()
        """Set after the first read of the record; before that, an unset `exited` proves nothing."""
        self.told: ExecutionStatus | None = None
        """The state that relay-pid1 told at the end, which its record may not say yet; None before that."""
        self._exited_at = 0.0
        self._data = b""
        """The record at the last read; empty before that."""
        if started:
            self.started.set()

    @property
    def exited_at(self) -> float | None:
        """The monotonic time of the step's exit in seconds; None if it has not exited."""
        return self._exited_at if self.exited.is_set() else None

    def read(self) -> bool:
        """Read the record and set the events; return whether one was set.

        Raises:
            MalformedMessage: the file is no record.
        """
        was_started = self.started.is_set()
        # In this order: before the start nothing holds the record, and after its holder's end it changes no more.
        released = was_started and not is_open_file_locked(self.fd)
        data = os.pread(self.fd, SIZE, 0)
        if data == self._data and not released:
            return False  # the pump reads the record of every live step once a second
        before = self._state()
        record = decode(data)
        self._data = data
        if record.started or record.ended:
            self.started.set()
        if record.ended and not self.exited.is_set():
            self._exited_at = time.monotonic()
            self.exited.set()
        if record.drained or released:
            self.dead.set()
        self.heard.set()
        if self.started.is_set() and not was_started:
            self.read()  # the holder may have ended already
        return self._state() != before

    def hear(self, status: ExecutionStatus) -> None:
        """Set the events by what relay-pid1 told; any thread may call this, also after `close`."""
        self.told = status
        self.started.set()
        if status.how is not How.NOT_YET and not self.exited.is_set():
            self._exited_at = time.monotonic()
            self.exited.set()
        self.heard.set()

    def close(self) -> None:
        """Close the record; the events keep their state."""
        os.close(self.fd)

    def _state(self) -> tuple[bool, ...]:
        return tuple(event.is_set() for event in (self.started, self.exited, self.dead, self.heard))
