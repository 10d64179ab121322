"""The requests of a worker to the relay-pid1 of one container, as calls with deadlines."""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TypeVar

from relay_workers.containers.pid1 import answers, channel, memfd
from relay_workers.containers.pid1.answers import ExecutionStatus, KillAnswer, LeftoverList, Pid1Status
from relay_workers.containers.pid1.connection import Connection, ConnectionLost, Reply
from relay_workers.containers.pid1.errors import EventsLost, Pid1Silent, refused
from relay_workers.containers.pid1.messages import PID1_KEY, Key, MalformedMessage, StartFlag
from relay_workers.containers.pid1.requests import (
    Dial,
    Forbid,
    Kill,
    Leftovers,
    Pty,
    Request,
    Resize,
    Signal,
    Status,
)
from relay_workers.containers.pid1.step import Step, StepFiles, TerminalSize, milliseconds, start_request
from relay_workers.containers.port import EngineUnavailable

_Decoded = TypeVar("_Decoded")
ANSWER_SECONDS = 2.0
"""The time within which relay-pid1 answers, except for kills and dials."""
DIAL_SECONDS = 5.0
"""relay-pid1 gives up a connection after 2 s, and tries two addresses."""


class Pid1Client:
    """The relay-pid1 of one container; usable from many threads, which share one connection.

    Every method may raise two errors, which its docstring does not repeat: `Pid1Gone` (a `StepFailed` with the reason
    ``container_missing``) and `Pid1Silent` (an `EngineUnavailable`).

    Args:
        path: the channel, as given to `channel.BootstrapListener.hand_over`.
        init_pid: the pid of the container's first process as the engine names it.
    """

    def __init__(self, path: Path, init_pid: int) -> None:
        self._path = path
        self._init_pid = init_pid
        self._lock = Lock()
        self._connection: Connection | None = None
        self._watch_lost = False

    def close(self) -> None:
        """Close the connection. What was started goes on; a later call connects again."""
        with self._lock:
            if self._connection:
                self._connection.close()
                self._watch_lost = True
            self._connection = None

    def connect(self) -> socket.socket:
        """Return a new connection to relay-pid1, for `watcher.Watcher`; the caller closes it."""
        return channel.connect(self._path, self._init_pid, seconds=ANSWER_SECONDS)

    def start(self, step: Step, files: StepFiles) -> int:
        """Start a step, and return its pid in the container when its program has been executed.

        Raises:
            AlreadyStarted: this key was started before.
            StartForbidden: this key was forbidden before.
            PidsLimitReached: the container has too many processes; the key can be started later.
            StepFailed: ``start_failed``: the program cannot be executed; the message says why. The key is used up.
            InvalidInput: arguments, environment, uid or gid are not possible.
            EngineUnavailable: the start was refused for want of resources, or it is unknown whether it was carried out.
        """
        words = memfd.encode_words(step.cwd, step.argv, step.env)
        with ExitStack() as open_files:

            def memory(name: str, content: bytes) -> int:
                fd = memfd.sealed(name, content)
                open_files.callback(os.close, fd)
                return fd

            stdin = memory("stdin", step.stdin) if isinstance(step.stdin, bytes) else step.stdin
            optional = {
                StartFlag.STDOUT: files.stdout,
                StartFlag.STDERR: files.stderr,
                StartFlag.STDIN: stdin,
                StartFlag.SCRIPT: None if step.script is None else memory("script", step.script),
            }
            present = {flag: fd for flag, fd in optional.items() if fd is not None}
            descriptors = [memory("words", words), files.record, *present.values()]
            request = start_request(step, present)
            body = self._call(f"The start of {_name(step.key)}", request, descriptors, repeat=False)
        return self._decoded(answers.decode_number, body)

    def status(self, key: Key, *, watch: bool = False) -> ExecutionStatus:
        """Return the state of an execution.

        Args:
            key: the start of the execution.
            watch: whether `next_event` also returns its events, those that have already happened included.

        Raises:
            UnknownExecution: relay-pid1 never got this start, or forgot it.
        """
        body = self._call(f"The status of {_name(key)}", Status(key, watch))
        return self._decoded(answers.decode_status, body)

    def pid1_status(self) -> Pid1Status:
        """Return the state of relay-pid1 itself."""
        body = self._call("The status of the container's PID 1", Status(PID1_KEY))
        return self._decoded(answers.decode_pid1_status, body)

    def forbid(self, key: Key) -> None:
        """Declare that this start never happens; do nothing if that was declared before.

        Raises:
            AlreadyStarted: it has happened.
        """
        self._call(f"The ban of {_name(key)}", Forbid(key))

    def signal(self, key: Key, number: int, *, whole_execution: bool = False) -> int:
        """Send a signal to the step's first process or to all processes; return the number of processes that got it.

        Raises:
            UnknownExecution: as `status`.
            NotRunning: the step has ended.
        """
        request = Signal(key, number, whole_execution)
        body = self._call(f"Signal {number} to {_name(key)}", request, repeat=False)
        return self._decoded(answers.decode_number, body)

    def kill(self, key: Key, *, grace_seconds: float, seconds: float) -> KillAnswer:
        """Kill all processes of an execution, and return when none is left.

        A kill goes on if this method gives up, and a second call joins the first: it can only shorten its grace.

        Args:
            key: the start of the execution.
            grace_seconds: the time between TERM and KILL.
            seconds: the longest time to wait, the grace included.

        Raises:
            UnknownExecution: as `status`.
        """
        request = Kill(key, milliseconds(grace_seconds))
        return self._decoded(answers.decode_kill, self._call(f"The kill of {_name(key)}", request, seconds=seconds))

    def leftovers(self, key: Key) -> LeftoverList:
        """Return the processes of an execution besides the step's first one and its supervisor.

        Raises:
            UnknownExecution: as `status`.
        """
        return self._decoded(answers.decode_leftovers, self._call(f"The leftovers of {_name(key)}", Leftovers(key)))

    def dial(self, port: int) -> socket.socket:
        """Return a connection to a port of the container's loopback address, which the caller closes.

        Raises:
            DialFailed: nothing accepts a connection there.
        """
        reply = self._reply(f"Port {port} of the container", Dial(port), seconds=DIAL_SECONDS)
        with ExitStack() as stack:
            stack.callback(reply.close)
            connected = socket.socket(fileno=self._decoded(lambda _: reply.take(), b""))
        connected.settimeout(None)
        return connected

    def pty(self, key: Key) -> int:
        """Return the descriptor of the master of an execution's terminal, nonblocking; the caller closes it.

        Raises:
            UnknownExecution: as `status`.
            NotRunning: the step has no terminal.
        """
        reply = self._reply(f"The terminal of {_name(key)}", Pty(key), seconds=ANSWER_SECONDS)
        with ExitStack() as stack:
            stack.callback(reply.close)
            return self._decoded(lambda _: reply.take(), b"")

    def resize(self, key: Key, size: TerminalSize) -> None:
        """Change the size of an execution's terminal.

        Raises:
            UnknownExecution, NotRunning: as `pty`.
        """
        self._call(f"The size of the terminal of {_name(key)}", Resize(key, size.columns, size.rows))

    def next_event(self, *, seconds: float) -> ExecutionStatus | None:
        """Return the state of an execution that has ended or is drained; None if there is none in time.

        Each watched execution has two such events. Executions are watched by `start`, and by `status` with ``watch``.

        Raises:
            EventsLost: executions were watched over a connection that has ended: watch them again. A start whose caller
                got no answer may be among them.
        """
        connection = self._current()
        with self._lock:
            lost, self._watch_lost = self._watch_lost, False
        if lost:
            raise EventsLost
        try:
            return connection.next_event(seconds=seconds)
        except ConnectionLost:
            self._forget(connection)
            with self._lock:
                self._watch_lost = False
            raise EventsLost from None
        except MalformedMessage as error:
            raise self._not_understood(error) from error

    def _call(
        self,
        subject: str,
        request: Request,
        descriptors: Sequence[int] = (),
        *,
        seconds: float = ANSWER_SECONDS,
        repeat: bool = True,
    ) -> bytes:
        """Return the body of the answer to a request whose answer carries no descriptor."""
        reply = self._reply(subject, request, descriptors, seconds=seconds, repeat=repeat)
        reply.close()
        return reply.body

    def _reply(
        self,
        subject: str,
        request: Request,
        descriptors: Sequence[int] = (),
        *,
        seconds: float,
        repeat: bool = True,
    ) -> Reply:
        """Send a request and return its answer; send it again over a new connection if the old one has ended.

        relay-pid1 closes silent connections, so that one has ended means nothing. A request that may have arrived is
        sent again only if ``repeat`` allows it.
        """
        for last in (False, True):
            connection = self._current()
            try:
                reply = connection.call(request, descriptors, seconds=seconds)
                if isinstance(outcome := answers.decode_answer(reply.body), answers.Refusal):
                    reply.close()
                    raise refused(subject, outcome)
                return Reply(outcome, reply.descriptors)
            except TimeoutError:
                raise Pid1Silent(f"{subject}: the container's PID 1 gave no answer within {seconds:g} s") from None
            except MalformedMessage as error:
                raise self._not_understood(error) from error
            except ConnectionLost as error:
                self._forget(connection)
                if last or (error.sent and not repeat):
                    raise Pid1Silent(f"{subject}: the container's PID 1 closed the connection") from error
        raise AssertionError

    def _current(self) -> Connection:
        with self._lock:
            if self._connection is None:
                connected = channel.connect(self._path, self._init_pid, seconds=ANSWER_SECONDS)
                self._connection = Connection(connected)
            return self._connection

    def _forget(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            if self._connection is connection:
                self._connection = None
                self._watch_lost = True

    def _decoded(self, decode: Callable[[bytes], _Decoded], body: bytes) -> _Decoded:
        try:
            return decode(body)
        except MalformedMessage as error:
            raise self._not_understood(error) from error

    def _not_understood(self, error: MalformedMessage) -> EngineUnavailable:
        self.close()
        text = f"The container's PID 1 gave an answer that this worker does not understand: {error}"
        return EngineUnavailable(text, retryable=False)


def _name(key: Key) -> str:
    return f"execution {key.execution_id} (fence {key.fence})"
