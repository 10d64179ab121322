"""Keeps processes alive: starts them in order, starts again one that dies, ends them in the opposite order."""

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
STABLE_SECONDS = 60.0
"""Who lived this long starts again at once."""


class Service(Protocol):
    """What can be kept alive."""

    def prepare(self) -> Program:
        """Sets up what the next start needs and says how to run it."""

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when it can be used; raises StackProblem when it ended instead."""


class StopRequested(Exception):  # noqa: N818 - not an error
    """Raised in the main thread by the first SIGTERM or SIGINT."""


def restart_delay(lived_seconds: float, failures: int) -> float:
    """How long to wait before a dead process is started again: doubling, unless it had been stable."""
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
    """When to start it again (monotonic seconds)."""

    def shown(self) -> ProcessState:
        return ProcessState(self.name, self.process.pid if self.process and not self.due else None, self.state)


class Watch:
    """The supervisor's children. All calls come from the main thread, which the children end with.

    Args:
        on_change: gets the state of all processes whenever one changed.
    """

    def __init__(self, on_change: Callable[[Sequence[ProcessState]], None]) -> None:
        self._children: list[_Child] = []
        self._on_change = on_change

    def start(self, name: str, service: Service, *, wait: bool = True) -> None:
        """Adds a process and starts it.

        Raises:
            StackProblem: it cannot be started or ended before it was ready.
        """
        child = _Child(name, service)
        self._children.append(child)
        self._spawn(child)
        if wait:
            self.wait_ready(name)

    def wait_ready(self, name: str) -> None:
        """Returns when a process that was started without waiting is ready."""
        child = next(child for child in self._children if child.name == name)
        if child.process is not None:
            child.service.wait_ready(child.process)
        child.state = "running"
        self._tell()

    def keep(self) -> None:
        """Starts again what dies, until StopRequested is raised."""
        with _wakeups() as wakeup:
            woken = select.poll()  # select() takes no descriptor above 1023
            woken.register(wakeup, select.POLLIN)
            while True:
                self._look(time.monotonic())
                due = [child.due for child in self._children if child.due is not None]
                timeout = max(0.0, min(due) - time.monotonic()) if due else None
                if woken.poll(None if timeout is None else math.ceil(timeout * 1000)):
                    os.read(wakeup, 4096)

    def stop(self) -> None:
        """Ends all, the last started first."""
        for child in reversed(self._children):
            if child.process is not None and child.program is not None:
                log.info("stopping %s", child.name)
                stop(child.process, child.program)
            child.state, child.process, child.due = "stopped", None, None
            self._tell()

    def _look(self, now: float) -> None:
        for child in self._children:
            if child.due is not None:
                if now >= child.due:
                    self._start_again(child)
            elif child.process is not None and (code := child.process.poll()) is not None:
                self._note_death(child, now, f"ended with {code}")

    def _note_death(self, child: _Child, now: float, what: str) -> None:
        delay = restart_delay(now - child.began, child.failures)
        child.failures = 0 if delay == 0 else child.failures + 1
        child.due, child.state = now + delay, "restarting"
        log.warning("%s %s; starting it again in %.1f s", child.name, what, delay)
        self._tell()

    def _start_again(self, child: _Child) -> None:
        child.due = None
        try:
            self._spawn(child)
        except (StackProblem, OSError) as error:
            self._note_death(child, time.monotonic(), f"cannot be started: {error}")
            return
        child.state = "running"
        self._tell()

    def _spawn(self, child: _Child) -> None:
        child.began = time.monotonic()
        child.program = child.service.prepare()
        child.process = spawn(child.program)
        log.info("started %s (pid %d)", child.name, child.process.pid)
        self._tell()

    def _tell(self) -> None:
        self._on_change([child.shown() for child in self._children])


class _wakeups:  # noqa: N801 - a context manager used once
    """A descriptor that becomes readable at every signal, SIGCHLD among them."""

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
    """From now on the first SIGTERM, SIGINT or SIGHUP raises StopRequested in the main thread; others are ignored."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def request(_number: int, _frame: FrameType | None) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        raise StopRequested

    for one in signals:
        signal.signal(one, request)
