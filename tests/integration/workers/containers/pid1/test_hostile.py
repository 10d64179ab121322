"""Attacks on relay-pid1 that fail: from inside its container, and by clients of the channel."""

import os
import struct
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from relay_workers.containers.pid1.errors import Pid1Silent
from relay_workers.containers.pid1.memfd import sealed
from tests.support import pid1 as support
from tests.support.pid1 import (
    MALFORMED,
    ROOT_CAPABILITIES,
    STATUS,
    STDERR,
    STDOUT,
    WATCH,
    Pid1,
    words,
)
from tests.support.waiting import eventually

AS_ROOT = {"uid": 0, "flags": WATCH | STDOUT | STDERR | ROOT_CAPABILITIES}
OWN_STATE = struct.pack("<24xII", 0, 0)


@pytest.mark.parametrize("user", [{"uid": 1000}, AS_ROOT], ids=["user", "root"])
def test_nothing_of_pid_1_or_a_supervisor_can_be_opened(pid1: Pid1, user: dict[str, object]) -> None:
    script = """
    supervisor=$(awk '/PPid/ {print $2}' /proc/$$/status)
    for pid in 1 $supervisor; do
        for name in mem environ maps io cwd root exe auxv; do
            if ls /proc/$pid/$name/ >/dev/null 2>&1 || head -c 1 /proc/$pid/$name >/dev/null 2>&1 || readlink /proc/$pid/$name; then
                echo "$pid $name can be opened"
            fi
        done
        for number in 0 1 2 3 64 65 66 67 68 69 70 71 72; do
            readlink /proc/$pid/fd/$number /proc/$pid/task/$pid/fd/$number && echo "$pid fd $number"
            (echo forged >>/proc/$pid/fd/$number) 2>/dev/null && echo "$pid fd $number written"
        done
    done
    echo done
    """
    step = pid1.run(script, **user)
    assert step.out == b"done\n"


def test_pid_1_cannot_be_traced(pid1: Pid1) -> None:
    script = "python3 -c 'import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.ptrace(16, 1, 0, 0), ctypes.get_errno())'"
    step = pid1.run(f"command -v python3 >/dev/null && {script} || echo -1 1", **AS_ROOT)
    assert step.out == b"-1 1\n"


def test_the_bootstrap_socket_cannot_be_removed_or_replaced(pid1: Pid1) -> None:
    step = pid1.run(
        "rm -f /relay/bootstrap; mv /relay/bootstrap /tmp/x; echo x >/relay/y; mv /relay /r; ls /relay",
        **AS_ROOT,
    )
    assert step.out == b"bootstrap\nrelay-pid1\n"
    assert step.err.count(b"Read-only file system") >= 3


def test_the_channel_refuses_peers_of_the_container(pid1: Pid1, debian: str) -> None:
    """Root is given the very socket, which a workspace never sees: PID 1 closes the connection without an answer."""
    message = struct.pack("<HHIQ", 1, STATUS, 48, 1) + OWN_STATE
    program = (
        "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect('/node/channel.sock')\n"
        f"try:\n    s.send({message!r})\n    print(s.recv(100))\nexcept OSError:\n    print(b'')\n"
    )
    printed = pid1.client.containers.run(
        debian,
        ["python3", "-c", program],
        entrypoint=[],
        user="0:0",
        pid_mode=f"container:{pid1.container.id}",
        network_disabled=True,
        volumes={str(pid1.folder): {"bind": "/node", "mode": "rw"}},
        remove=True,
    )
    assert printed == b"b''\n"
    assert pid1.connect().ask(STATUS, OWN_STATE).error == 0


def test_a_client_reads_the_pid_of_init(pid1: Pid1) -> None:
    assert pid1.connect().peer() == pid1.init


def test_descriptors_that_were_not_asked_for(pid1: Pid1) -> None:
    connection = pid1.connect()
    ends = os.pipe()
    assert connection.ask(STATUS, OWN_STATE, ends).error == MALFORMED
    os.close(ends[1])
    assert os.read(ends[0], 1) == b""  # PID 1 keeps no copy
    os.close(ends[0])


def test_wrong_descriptors(pid1: Pid1) -> None:
    connection = pid1.connect()
    good, unsealed = sealed("words", words(["true"], [], "/")), os.memfd_create("unsealed")
    appending = os.open("/dev/null", os.O_WRONLY | os.O_APPEND)
    reading = os.open("/dev/null", os.O_RDONLY)
    writing = os.open("/dev/null", os.O_WRONLY)
    path = os.open("/tmp", os.O_PATH)
    file = os.open(__file__, os.O_RDONLY)
    for flags, fds in (
        (0, [unsealed, writing]),
        (0, [good, reading]),
        (0, [good, appending]),
        (0, [good, path]),
        (STDOUT, [good, writing, appending]),
        (support.STDIN, [good, writing, file]),  # a file of the node never becomes a step's stdin
        (support.SCRIPT, [good, writing, file]),
    ):
        start = uuid4().bytes + bytes(8) + struct.pack("<IIIIQIHH", 1000, 20001, flags, 0, 0, 0, 0, 0)
        assert connection.ask(support.START, start, fds).error == support.BAD_DESCRIPTOR
    for fd in (good, unsealed, appending, reading, writing, path, file):
        os.close(fd)


def test_silent_clients_hold_up_no_other(pid1: Pid1) -> None:
    silent = [pid1.connect() for _ in range(80)]  # more than PID 1 holds
    assert pid1.run("echo ok").out == b"ok\n"
    for connection in silent:
        connection.close()


def test_a_client_that_does_not_read_holds_up_no_other(pid1: Pid1) -> None:
    deaf = pid1.connect()
    deaf.socket.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            deaf.send(STATUS, OWN_STATE)
    assert pid1.run("echo ok").out == b"ok\n"
    deaf.socket.setblocking(True)
    got = [deaf.receive() for _ in range(deaf.tag - 1)]  # the last was not sent
    assert [answer.tag for answer in got] == list(range(1, deaf.tag))


def test_a_restarted_container_bootstraps_again(program: Path, debian: str) -> None:
    with support.running(program, debian) as own:
        step = own.sh("sleep 1000")
        own.container.restart(timeout=0)
        own.container.reload()
        eventually(lambda: not step.record_is_held(), "the end of the record's lock")
        with pytest.raises(ConnectionError):
            step.drained()
        own.init = own.container.attrs["State"]["Pid"]
        own.bootstrap()
        assert own.run("echo ok").out == b"ok\n"


def test_forged_pid_1_is_not_bootstrapped(pid1: Pid1) -> None:
    """A process of the container that connects to the bootstrap socket has another pid than init: the worker refuses."""
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/relay/bootstrap');"
        "print('connected', flush=True); print(s.recv(10))"
    )
    step = pid1.start(["python3", "-c", program], **AS_ROOT)
    eventually(lambda: step.out)
    with pytest.raises(Pid1Silent):
        pid1.listener.hand_over(pid1.folder / "forged.sock", lambda: pid1.init, seconds=0.2)
    step.drained()
    assert step.out == b"connected\nb''\n"


def test_a_record_of_a_failed_start_is_released(pid1: Pid1) -> None:
    step = pid1.start(["/no/such/program"])
    step.drained()
    eventually(lambda: not step.record_is_held())
