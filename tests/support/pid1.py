"""A container whose first process is relay-pid1, and a bare client that says what docs/pid1-protocol.md says."""

import array
import fcntl
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import docker

from relay_workers.containers.pid1.channel import BOOTSTRAP, BootstrapListener
from relay_workers.containers.pid1.memfd import sealed
from tests.support.waiting import eventually

CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "KILL", "SYS_NICE"]
START, STATUS, FORBID, SIGNAL, KILL, LEFTOVERS, DIAL, PTY, RESIZE = range(1, 10)
EXITED, DRAINED = 0x4001, 0x4002
TTY, ROOT_CAPABILITIES, WATCH, STDOUT, STDERR, STDIN, SCRIPT = 1, 2, 4, 0x10, 0x20, 0x40, 0x80
MALFORMED, UNKNOWN_VERB, UNKNOWN, EXISTS, FORBIDDEN, START_FAILED, PIDS_LIMIT = 1, 2, 3, 4, 5, 6, 7
BAD_DESCRIPTOR, NOT_RUNNING, NO_TERMINAL, DIAL_FAILED, RESERVED_USER = 9, 10, 11, 12, 13
PATIENCE_SECONDS = 30
SHELL = ("/bin/sh", "/proc/self/fd/63")
ENV = ("PATH=/usr/local/bin:/usr/bin:/bin",)
EMULATOR = os.environ.get("RELAY_TEST_PID1_EMULATOR", "")
"""The static program that executes relay-pid1, if it is one for another machine (scripts/pid1-aarch64)."""


class Answer(NamedTuple):
    """A message of PID 1; an event has no error."""

    verb: int
    tag: int
    error: int
    errno: int
    stage: int
    body: bytes
    fds: list[int]


class Status(NamedTuple):
    """The body of `status` and of events."""

    key: bytes
    state: int
    pid: int
    how: int
    value: int
    stage: int
    flags: int
    oom_before: int
    oom_after: int
    started_ns: int
    ended_ns: int
    copied: int
    dropped: int
    error: int
    done: int
    err_copied: int
    err_dropped: int
    err_error: int
    err_done: int


def status_of(body: bytes) -> Status:
    return Status(*struct.unpack("<24s6I2q2Q2Q2I2Q2I", body))


def words(argv: Sequence[str], env: Sequence[str], cwd: str) -> bytes:
    strings = b"".join(text.encode() + b"\0" for text in (cwd, *argv, *env))
    return struct.pack("<IIII", 0x44524F57, 1, len(argv), len(env)) + strings


def _connects(client: socket.socket, path: Path) -> bool:
    """Connect; return False while the queue of connections is full."""
    try:
        client.connect(str(path))
    except BlockingIOError:
        return False
    return True


class Connection:
    """One connection to the channel."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_SECONDS)
        eventually(lambda: _connects(self.socket, path), "room in PID 1's queue of connections")
        self.tag = 0
        self.events: list[Answer] = []

    def peer(self) -> int:
        return int(struct.unpack("iii", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def send(self, verb: int, payload: bytes = b"", fds: Sequence[int] = ()) -> int:
        self.tag += 1
        header = struct.pack("<HHIQ", 1, verb, 16 + len(payload), self.tag)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([header + payload], rights)
        return self.tag

    def receive(self) -> Answer:
        """The next message; raises ConnectionError at the end of the connection."""
        data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16))
        if not data:
            raise ConnectionResetError("PID 1 closed the connection")
        fds = array.array("i")
        for _, _, content in ancillary:
            fds.frombytes(content)
        _, verb, length, tag = struct.unpack_from("<HHIQ", data)
        assert length == len(data)
        if verb in {EXITED, DRAINED}:
            return Answer(verb, tag, 0, 0, 0, data[16:], [])
        return Answer(verb & 0x7FFF, tag, *struct.unpack_from("<III", data, 16), data[32:], list(fds))

    def answer(self, tag: int) -> Answer:
        """The answer with this tag; events that come before it are kept."""
        while (got := self.receive()).tag != tag:
            self.events.append(got)
        return got

    def ask(self, verb: int, payload: bytes = b"", fds: Sequence[int] = ()) -> Answer:
        return self.answer(self.send(verb, payload, fds))

    def event(self, verb: int, key: bytes) -> Status:
        """Waits for an event of one execution."""
        while True:
            for got in self.events:
                if got.verb == verb and got.body[:24] == key:
                    self.events.remove(got)
                    return status_of(got.body)
            self.events.append(self.receive())

    def close(self) -> None:
        self.socket.close()


@dataclass
class Step:
    """An execution that was asked for, and the node's files of it."""

    key: bytes
    folder: Path
    connection: Connection
    answer: Answer | None = None

    @property
    def out(self) -> bytes:
        return (self.folder / "stdout").read_bytes()

    @property
    def err(self) -> bytes:
        return (self.folder / "stderr").read_bytes()

    def ended(self) -> Status:
        return self.connection.event(EXITED, self.key)

    def drained(self) -> Status:
        return self.connection.event(DRAINED, self.key)

    def status(self) -> Status:
        answer = self.connection.ask(STATUS, self.key + struct.pack("<II", 0, 0))
        assert answer.error == 0, answer
        return status_of(answer.body)

    def kill(self, grace_ms: int = 0) -> Answer:
        return self.connection.ask(KILL, self.key + struct.pack("<II", grace_ms, 0))

    def section(self, offset: int, form: str) -> tuple[Any, ...]:
        """A section of the record: its mark and fields."""
        return struct.unpack_from("<" + form, (self.folder / "record").read_bytes(), offset)

    def record_is_held(self) -> bool:
        with (self.folder / "record").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False


@dataclass
class Pid1:
    """A running container with relay-pid1."""

    client: docker.DockerClient
    container: Any
    init: int
    folder: Path
    listener: BootstrapListener
    connections: list[Connection] = field(default_factory=list)

    @property
    def socket_path(self) -> Path:
        return self.folder / "channel.sock"

    def bootstrap(self) -> None:
        """Hands PID 1 its channel."""
        self.listener.hand_over(self.socket_path, lambda: self.init, seconds=PATIENCE_SECONDS)

    def connect(self) -> Connection:
        connection = Connection(self.socket_path)
        self.connections.append(connection)
        return connection

    def ask_start(
        self,
        connection: Connection,
        argv: Sequence[str] = SHELL,
        *,
        script: str | None = None,
        key: bytes | None = None,
        uid: int = 1000,
        gid: int = 20001,
        groups: Sequence[int] = (),
        env: Sequence[str] = ENV,
        cwd: str = "/",
        stdin: int | None = None,
        flags: int = WATCH | STDOUT | STDERR,
        deadline_ms: int = 0,
        grace_ms: int = 0,
    ) -> tuple[int, Step]:
        """Sends a start; returns its tag."""
        step = Step(key or uuid4().bytes + struct.pack("<Q", 1), self.folder / "node" / uuid4().hex, connection)
        step.folder.mkdir(parents=True)
        record = step.folder / "record"
        record.write_bytes(b"RELAYREC" + struct.pack("<II", 1, 512) + step.key + bytes(512 - 40))
        fds = [sealed("words", words(argv, env, cwd)), os.open(record, os.O_WRONLY)]
        fcntl.flock(fds[1], fcntl.LOCK_EX)
        for flag, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
            if flags & flag:
                fds.append(os.open(step.folder / name, os.O_WRONLY | os.O_CREAT, 0o600))
        if stdin is not None:
            flags |= STDIN
            fds.append(stdin)
        if script is not None:
            flags |= SCRIPT
            fds.append(sealed("script", script.encode()))
        head = struct.pack("<IIIIQIHH", uid, gid, flags, len(groups), deadline_ms, grace_ms, 80, 24)
        tag = connection.send(START, step.key + head + struct.pack(f"<{len(groups)}I", *groups), fds)
        for fd in fds:
            os.close(fd)
        return tag, step

    def start(self, argv: Sequence[str] = SHELL, connection: Connection | None = None, **changes: Any) -> Step:
        """Starts a step and waits for the answer, which may be an error."""
        tag, step = self.ask_start(connection or self.connect(), argv, **changes)
        step.answer = step.connection.answer(tag)
        return step

    def sh(self, script: str, **changes: Any) -> Step:
        """Starts a script, which has to begin."""
        step = self.start(script=script, **changes)
        assert step.answer is not None
        assert step.answer.error == 0, step.answer
        return step

    def run(self, script: str, **changes: Any) -> Step:
        """Runs a script until it is drained."""
        step = self.sh(script, **changes)
        step.drained()
        return step

    def processes(self) -> list[tuple[int, str]]:
        """The host's pids and names of all processes in the container but the first, and but those that are dead.

        A killed process has no memory left a moment before it is a zombie: it runs no code any more.
        """
        rows = [(int(row[0]), row[1]) for row in self.container.top(ps_args="-eo pid,args")["Processes"]]
        return [(pid, args) for pid, args in rows if pid != self.init and _has_memory(pid)]

    def has_stopped(self) -> bool:
        """Whether a process in the container is stopped (SIGSTOP)."""
        return any(row[1].startswith("T") for row in self.container.top(ps_args="-eo pid,stat,args")["Processes"])

    def steps(self) -> list[str]:
        return [args for _, args in self.processes() if "relay-pid1" not in args]


def _has_memory(pid: int) -> bool:
    try:
        return "VmSize:" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def running(program: Path, image: str, *, pids: int = 512, seccomp: str = "", **changes: Any) -> Iterator[Pid1]:
    """A container with relay-pid1, removed afterwards; ``seccomp`` is a profile in place of the engine's."""
    folder = Path(tempfile.mkdtemp(prefix="relay-pid1-"))
    visible = folder / "visible"
    visible.mkdir()
    shutil.copy(program, visible / "relay-pid1")
    listener = BootstrapListener(visible)
    client = docker.from_env()
    emulation = {EMULATOR: {"bind": "/emulator", "mode": "ro"}} if EMULATOR else {}
    container = client.containers.create(
        image,
        [],
        entrypoint=[*(["/emulator"] if EMULATOR else []), "/relay/relay-pid1", f"/relay/{BOOTSTRAP}"],
        user="0:0",
        volumes={str(visible): {"bind": "/relay", "mode": "ro"}, **emulation, **changes.pop("volumes", {})},
        cap_drop=["ALL"],
        cap_add=CAPABILITIES,
        security_opt=["no-new-privileges", *([f"seccomp={seccomp}"] if seccomp else [])],
        pids_limit=pids,
        network_disabled=True,
        **changes,
    )
    pid1 = None
    try:
        container.start()
        container.reload()
        pid1 = Pid1(client, container, container.attrs["State"]["Pid"], folder, listener)
        pid1.bootstrap()
        yield pid1
    finally:
        for connection in pid1.connections if pid1 else ():
            connection.close()
        container.remove(force=True)
        client.close()
        listener.close()
        shutil.rmtree(folder)
