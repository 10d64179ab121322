"""The answers of relay-pid1 to messages, without a container: in a pid namespace of its own."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay_workers.containers.pid1.answers import State
from relay_workers.containers.pid1.channel import BOOTSTRAP, BootstrapListener
from relay_workers.containers.pid1.client import Pid1Client
from relay_workers.containers.pid1.errors import DialFailed, Pid1Gone, UnknownExecution
from relay_workers.containers.pid1.messages import Key
from tests.support.pid1 import EMULATOR, MALFORMED, STATUS, UNKNOWN_VERB, Connection

APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
OWN_STATE = struct.pack("<24xII", 0, 0)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.fixture(scope="module")
def bare(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The channel of a relay-pid1 that is the first process of a pid namespace, and its pid."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "visible").mkdir()
    words = [*([EMULATOR] if EMULATOR else []), str(program)]
    with BootstrapListener(folder / "visible") as listener:
        outer = subprocess.Popen([*APART, *words, str(folder / "visible" / BOOTSTRAP)])
        try:
            listener.hand_over(folder / "channel", lambda: child_of(outer.pid), seconds=30)
            yield folder / "channel", child_of(outer.pid)
        finally:
            outer.kill()
            outer.wait()


@pytest.fixture
def client(bare: tuple[Path, int]) -> Iterator[Pid1Client]:
    made = Pid1Client(*bare)
    yield made
    made.close()


def header(verb: int, length: int, version: int = 1) -> bytes:
    return struct.pack("<HHIQ", version, verb, length, 7)


KEY = bytes(range(1, 25))
START_OF_FOUR = KEY + struct.pack("<IIIIQIHH", 1000, 20001, 0, 4, 0, 0, 0, 0)


MESSAGES = {
    "one byte": (b"x", MALFORMED),
    "no whole header": (header(2, 16)[:15], MALFORMED),
    "a length that is not the packet's": (header(2, 17), MALFORMED),
    "no key": (header(2, 16), MALFORMED),
    "another version": (header(2, 16, version=2), MALFORMED),
    "an unknown verb": (header(99, 16), UNKNOWN_VERB),
    "a verb of the bootstrap": (header(0x2002, 16), MALFORMED),
    "an unknown flag of status": (header(2, 48) + KEY + struct.pack("<II", 8, 0), MALFORMED),
    "signal 65": (header(4, 48) + KEY + struct.pack("<II", 65, 0), MALFORMED),
    "signal 0": (header(4, 48) + KEY + struct.pack("<II", 0, 0), MALFORMED),
    "forbid of no key": (header(3, 40) + bytes(24), MALFORMED),
    "dial of port 0": (header(7, 24) + bytes(8), MALFORMED),
    "fewer groups than said": (header(1, 72) + START_OF_FOUR, MALFORMED),
    "4 billion groups": (
        header(1, 72) + KEY + struct.pack("<IIIIQIHH", 0, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0),
        MALFORMED,
    ),
    "unknown flags of start": (
        header(1, 72) + KEY + struct.pack("<IIIIQIHH", 1000, 1, 0xFFFFFFFF, 0, 0, 0, 0, 0),
        MALFORMED,
    ),
    "the largest packet": (header(1, 65536).ljust(65536, b"\xff"), MALFORMED),
    "a packet that is too large": (header(1, 70000).ljust(70000, b"\xff"), MALFORMED),
}


@pytest.mark.parametrize(("message", "error"), MESSAGES.values(), ids=MESSAGES)
def test_malformed_messages(bare: tuple[Path, int], message: bytes, error: int) -> None:
    connection, other = Connection(bare[0]), Connection(bare[0])
    connection.socket.send(message)
    assert connection.receive().error == error
    if error == MALFORMED:
        with pytest.raises(ConnectionError):
            connection.receive()
    assert other.ask(STATUS, OWN_STATE).error == 0
    connection.close()
    other.close()


def test_a_start_that_is_forbidden(client: Pid1Client) -> None:
    key = Key(uuid4(), 2**64 - 1)
    with pytest.raises(UnknownExecution):
        client.status(key)
    client.forbid(key)
    client.forbid(key)
    assert client.status(key).state is State.FORBIDDEN


def test_the_state_of_pid_1(client: Pid1Client) -> None:
    state = client.pid1_status()
    assert (state.version, state.live_executions, state.strays_killed) == (1, 0, 0)
    assert state.connections >= 1


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_dial(client: Pid1Client, family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        with pytest.raises(DialFailed):
            client.dial(port)
        listener.listen()
        with client.dial(port) as dialled:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"hello")
                assert dialled.recv(10) == b"hello"


def test_another_pid_is_not_taken_for_pid_1(bare: tuple[Path, int]) -> None:
    with pytest.raises(Pid1Gone):
        Pid1Client(bare[0], bare[1] + 1).pid1_status()
