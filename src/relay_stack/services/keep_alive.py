"""Keep processes alive: start them in order, restart each process that dies, and stop them in reverse order."""

import logging
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from relay_stack.errors import StackProblem
from relay_stack.files.stack_state import ProcessState
from relay_stack.services.process import Program, spawn, stop

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
"""Longest delay before a restart; FIRST_DELAY_SECONDS is the shortest, except for a stable process."""
STABLE_SECONDS = 60.0
"""A process that lived this long counts as stable: if it dies, it is restarted without a delay."""


class Service(Protocol):
    """A process that `ProcessKeeper` can keep alive."""

    def prepare(self) -> Program:
        """Set up everything that the next start needs, and return how to run the process."""

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process is ready.

        Raises:
            StackProblem: the process ended before it was ready, or took too long.
        """


class StopRequested(Exception):  # noqa: N818 - asks for a stop
    """Raised in the main thread by the first SIGTERM, SIGINT or SIGHUP."""


def restart_delay(lived_seconds: float, failures: int) -> float:
    """Return the seconds to wait before a dead process is restarted.

    Args:
        lived_seconds: seconds that the process lived; from STABLE_SECONDS on, the delay is 0.
        failures: number of deaths since the process was last stable, without this one; each doubles the delay, up to
            LONGEST_DELAY_SECONDS.
    """
    if lived_seconds >= STABLE_SECONDS:
        return 0.0
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 16))


@dataclass
class _Child:
    name: str
    service: Service
    program: Program | None = None
    process: subprocess.Popen[bytes] | None = None
    state: str = "starting"
    began: float = 0.0
    failures: int = 0
    due: float | None = None
    """Monotonic time of the next restart; None if no restart is planned."""

    def shown(self) -> ProcessState:
        return ProcessState(self.name, self.process.pid if self.process and not self.due else None, self.state)


class ProcessKeeper:
    """Starts, restarts and stops the child processes of the supervisor.

    Call all methods from the main thread, because the kernel signals a child to stop when the thread that started the
    child ends.

    Args:
        on_change: called with the states of all processes after each change.
    """

    def __init__(self, on_change: Callable[[Sequence[ProcessState]], None]) -> None:
        self._children: list[_Child] = []
        self._on_change = on_change

    def start(self, name: str, service: Service, *, wait: bool = True) -> None:
        """Add a process and start it.

        Args:
            name: name of the process, for its state and the log.
            service: the process.
            wait: True returns when the process is ready, False at once.

        Raises:
            StackProblem: the process cannot be started, or ended before it was ready.
        """
        child = _Child(name, service)
        self._children.append(child)
        self._spawn(child)
        if wait:
            self.wait_ready(name)

    def wait_ready(self, name: str) -> None:
        """Wait until a process that was started with `wait=False` is ready.

        Raises:
            StackProblem: the process ended before it was ready, or took too long.
        """
        child = next(child for child in self._children if child.name == name)
        if child.process is not None:
            child.service.wait_ready(child.process)
        child.state = "running"
        self._report()

    def keep(self) -> None:
        """Restart each process that dies, until a signal raises StopRequested (see `stop_on_signals`)."""
        with _WakeupPipe() as wakeup:
            woken = select.poll()  # select() cannot take descriptors above 1023
            woken.register(wakeup, select.POLLIN)
            while True:
                self._check_all(time.monotonic())
                due = [child.due for child in self._children if child.due is not None]
                timeout = max(0.0, min(due) - time.monotonic()) if due else None
                if woken.poll(None if timeout is None else math.ceil(timeout * 1000)):
                    os.read(wakeup, 4096)

    def stop(self) -> None:
        """Stop all processes, in the reverse order of their start."""
        for child in reversed(self._children):
            if child.process is not None and child.program is not None:
                log.info("stopping %s", child.name)
                stop(child.process, child.program)
            child.state, child.process, child.due = "stopped", None, None
            self._report()

    def _check_all(self, now: float) -> None:
        for child in self._children:
            if child.due is not None:
                if now >= child.due:
                    self._start_again(child)
            elif child.process is not None and (code := child.process.poll()) is not None:
                self._note_death(child, now, f"ended with {code}")

    def _note_death(self, child: _Child, now: float, how: str) -> None:
        delay = restart_delay(now - child.began, child.failures)
        child.failures = 0 if delay == 0 else child.failures + 1
        child.due, child.state = now + delay, "restarting"
        log.warning("%s %s; starting it again in %.1f s", child.name, how, delay)
        self._report()

    def _start_again(self, child: _Child) -> None:
        child.due = None
        try:
            self._spawn(child)
        except (StackProblem, OSError) as error:
            self._note_death(child, time.monotonic(), f"cannot be started: {error}")
            return
        child.state = "running"
        self._report()

    def _spawn(self, child: _Child) -> None:
        child.began = time.monotonic()
        child.program = child.service.prepare()
        child.process = spawn(child.program)
        log.info("started %s (pid %d)", child.name, child.process.pid)
        self._report()

    def _report(self) -> None:
        self._on_change([child.shown() for child in self._children])


class _WakeupPipe:
    """Context manager for a file descriptor that becomes readable at every signal, including SIGCHLD."""

    def __enter__(self) -> int:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._child_handler = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self._read

    def __exit__(self, *_error: object) -> None:
        signal.set_wakeup_fd(self._before)
        signal.signal(signal.SIGCHLD, self._child_handler)
        os.close(self._read)
        os.close(self._write)


def stop_on_signals() -> None:
    """Make the next SIGTERM, SIGINT or SIGHUP raise StopRequested in the main thread; ignore later ones."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def request(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise StopRequested

    for number in signals:
        signal.signal(number, request)
