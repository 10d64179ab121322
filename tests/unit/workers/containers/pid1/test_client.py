"""The client against a peer that the test plays: deadlines, lost connections, answers out of order, descriptors."""

import errno
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_workers.containers.pid1 import client as client_module
from relay_workers.containers.pid1.answers import Leftover, LeftoverList, State
from relay_workers.containers.pid1.client import Pid1Client
from relay_workers.containers.pid1.errors import (
    AlreadyStarted,
    DialFailed,
    EventsLost,
    NotRunning,
    Pid1Gone,
    Pid1Silent,
    PidsLimitReached,
    StartForbidden,
    UnknownExecution,
)
from relay_workers.containers.pid1.messages import Key, Message, Verb
from relay_workers.containers.pid1.step import Step, StepFiles
from relay_workers.containers.port import EngineUnavailable
from tests.support.pid1_peer import Peer, listening
from tests.support.waiting import eventually

KEY = Key(uuid4(), 1)
STEP = Step(KEY, 1000, 70_000, "/", ["true"])


def status_body(key: Key, state: int = 2) -> bytes:
    return key.encode() + struct.pack("<IIIIIIqqQQ", state, 7, 0, 0, 0, 0, 0, 0, 1, 0) + bytes(48)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "channel"


@pytest.fixture
def client(path: Path):
    made = Pid1Client(path, os.getpid())
    yield made
    made.close()


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_answers_reach_the_thread_that_asked_in_whatever_order_they_come(path, client):
    keys = [Key(uuid4(), number) for number in range(20)]
    held: list[Message] = []

    def answer(peer: Peer, request: Message, _):
        held.append(request)
        if len(held) == len(keys):
            for each in reversed(held):
                peer.answer(each, status_body(Key.decode(each.body[:24])))

    with listening(path, answer) as peers, ThreadPoolExecutor(len(keys)) as pool:
        assert [found.key for found in pool.map(client.status, keys)] == keys
        assert len(peers) == 1


def test_a_silent_peer_costs_the_deadline_and_its_late_answer_is_dropped(path, client, monkeypatch):
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.05)
    requests: list[Message] = []

    def answer(peer: Peer, request: Message, _):
        requests.append(request)
        if len(requests) == 2:
            peer.answer(requests[0], struct.pack("<II", 1, 0))  # late, and of another size than a status
            peer.answer(request, status_body(KEY))

    with listening(path, answer):
        with pytest.raises(Pid1Silent, match=r"gave no answer within 0\.05 s") as silence:
            client.kill(KEY, grace_seconds=0, seconds=0.05)
        assert (silence.value.silent, silence.value.retryable) == (True, True)
        assert client.status(KEY).state is State.RUNNING


def test_a_request_is_repeated_over_a_new_connection_where_that_changes_nothing(path, client):
    def answer(peer: Peer, request: Message, _):
        if peer is peers[0]:
            peer.end()
        else:
            peer.answer(request, struct.pack("<II", 3, 4))

    with listening(path, answer) as peers:
        assert client.kill(KEY, grace_seconds=0, seconds=5).kills == 4
        assert len(peers) == 2


def test_a_start_that_may_have_arrived_is_not_repeated(path, client):
    arrived: list[Message] = []

    def answer(peer: Peer, request: Message, _):
        arrived.append(request)
        peer.end()

    with (
        listening(path, answer),
        Path("/dev/null").open("wb") as file,
        pytest.raises(Pid1Silent, match="closed the connection"),
    ):
        client.start(STEP, StepFiles(file.fileno()))
    assert len(arrived) == 1


def test_a_connection_that_ended_while_it_was_idle_is_replaced_even_for_a_start(path, client):
    def answer(peer: Peer, request: Message, _):
        body = struct.pack("<II", 42, 0) if request.verb == Verb.START else status_body(KEY)
        peer.answer(request, body)

    with listening(path, answer) as peers, Path("/dev/null").open("wb") as file:
        client.status(KEY)
        peers[0].end()
        assert client.start(STEP, StepFiles(file.fileno())) == 42


def test_a_start_sends_its_descriptors_in_the_order_of_the_protocol_and_keeps_none(path, client, tmp_path):
    seen: list[str] = []
    contents: list[bytes] = []

    def answer(peer: Peer, request: Message, descriptors: list[int]):
        names = [Path(f"/proc/self/fd/{fd}").readlink().name.split()[0] for fd in descriptors]
        seen.extend(names)
        contents.extend(os.pread(fd, 100, 0) for fd, name in zip(descriptors, names, strict=True) if "memfd" in name)
        peer.answer(request, struct.pack("<II", 42, 0))

    files = [(tmp_path / name).open("wb") for name in ("record", "out", "err")]
    with listening(path, answer):
        before = open_descriptors()
        step = Step(KEY, 1, 2, "/", script=b"echo", stdin=b"input")
        assert client.start(step, StepFiles(*(file.fileno() for file in files))) == 42
        client.close()
    for file in files:
        file.close()
    assert seen == [
        "memfd:words",
        "record",
        "out",
        "err",
        "memfd:stdin",
        "memfd:script",
    ]
    assert contents[1:] == [b"input", b"echo"]
    assert open_descriptors() <= before


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ((3, 0, 0), UnknownExecution, "does not know this start"),
        ((4, 0, 0), AlreadyStarted, "was started before"),
        ((5, 0, 0), StartForbidden, "declared as never started"),
        ((6, errno.ENOENT, 7), StepFailed, "while executing its program: No such file or directory"),
        ((7, errno.EAGAIN, 1), PidsLimitReached, r"raise limits\.pids"),
        ((8, 0, 0), EngineUnavailable, "too_many"),
        ((9, errno.EBADF, 0), EngineUnavailable, "bad_descriptor Bad file descriptor"),
        ((10, 0, 0), NotRunning, "the step has ended"),
        ((11, 0, 0), NotRunning, "has no terminal"),
        ((12, errno.ECONNREFUSED, 0), DialFailed, "Connection refused"),
        ((13, 0, 0), InvalidInput, "reserved"),
        ((14, errno.ENFILE, 0), EngineUnavailable, "no_resources Too many open files in system"),
    ],
)
def test_each_refusal_is_an_error_of_its_own(path, client, error, kind, words):
    with (
        listening(path, lambda peer, request, _: peer.answer(request, error=error)),
        Path("/dev/null").open("wb") as file,
        pytest.raises(kind, match=words),
    ):
        client.start(STEP, StepFiles(file.fileno()))


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(16), struct.pack("<IIII", 77, 0, 0, 0), bytes(16) + bytes(129)])
def test_an_answer_that_is_none_of_the_protocol_ends_the_connection(path, client, body):
    with listening(path, lambda peer, request, _: peer.send(request.verb | 0x8000, request.tag, body)) as peers:
        with pytest.raises(EngineUnavailable, match="does not understand") as error:
            client.status(KEY)
        assert not error.value.retryable
        with pytest.raises(EngineUnavailable, match="does not understand"):
            client.status(KEY)
        assert len(peers) == 2


def test_the_answer_to_another_verb_is_refused(path, client):
    with (
        listening(path, lambda peer, request, _: peer.send(0x8001, request.tag, bytes(16))),
        pytest.raises(EngineUnavailable, match="The answer to status has the verb 0x8001"),
    ):
        client.status(KEY)


def test_a_dial_returns_the_socket_and_loses_no_descriptor(path, client):
    ours, theirs = socket.socketpair()
    with listening(path, lambda peer, request, _: peer.answer(request, bytes(8), theirs.fileno())):
        with client.dial(8080) as connected:
            connected.sendall(b"hello")
            assert ours.recv(10) == b"hello"
            assert not os.get_inheritable(connected.fileno())
        before = open_descriptors()
        for _ in range(5):
            client.dial(8080).close()
        eventually(lambda: open_descriptors() <= before)  # the peer, a thread here, may have had one of its own open
    ours.close()
    theirs.close()


def test_descriptors_that_no_call_expects_are_closed(path, client):
    def answer(peer: Peer, request: Message, _):
        with Path("/dev/null").open("rb") as file:
            peer.answer(request, status_body(KEY), *[file.fileno()] * 3)

    with listening(path, answer):
        client.status(KEY)
        before = open_descriptors()
        client.status(KEY)
        with pytest.raises(EngineUnavailable, match="should carry one descriptor, and carries 3"):
            client.pty(KEY)
        client.close()
        eventually(lambda: open_descriptors() < before)  # the peer, a thread of this process, may still close its own


def test_leftovers_are_returned(path, client):
    body = struct.pack("<II", 300, 1) + struct.pack("<I16s", 5, b"sleep")
    with listening(path, lambda peer, request, _: peer.answer(request, body)):
        assert client.leftovers(KEY) == LeftoverList(300, (Leftover(5, "sleep"),))


def test_events_come_to_the_one_who_waits_while_others_call(path, client):
    def answer(peer: Peer, request: Message, _):
        peer.answer(request, status_body(KEY))
        if request.body[24] == 4:
            peer.send(Verb.EXITED, 0, status_body(KEY, 3))
            peer.send(Verb.DRAINED, 0, status_body(KEY, 4))

    with listening(path, answer), ThreadPoolExecutor(1) as pool:
        client.status(KEY)
        waiting = pool.submit(client.next_event, seconds=20)
        client.status(KEY, watch=True)
        first = waiting.result()
        second = client.next_event(seconds=20)
        assert first
        assert second
        assert [first.state, second.state] == [State.ENDED, State.DRAINED]
        assert client.next_event(seconds=0) is None


def test_the_watcher_learns_that_its_connection_ended_even_if_another_call_has_replaced_it(path, client):
    with listening(path, lambda peer, request, _: peer.answer(request, status_body(KEY))) as peers:
        client.status(KEY, watch=True)
        peers[0].end()
        client.status(KEY)
        assert len(peers) == 2
        with pytest.raises(EventsLost):
            client.next_event(seconds=20)
        assert client.next_event(seconds=0) is None
        peers[1].end()
        with pytest.raises(EventsLost):
            client.next_event(seconds=20)
        assert client.next_event(seconds=0) is None


def test_calls_that_wait_end_when_the_client_is_closed(path, client):
    asked = threading.Event()
    with listening(path, lambda *_: asked.set()), ThreadPoolExecutor(1) as pool, Path("/dev/null").open("wb") as file:
        waiting = pool.submit(client.start, STEP, StepFiles(file.fileno()))
        asked.wait()
        client.close()
        with pytest.raises(Pid1Silent, match="closed the connection"):
            waiting.result()


def test_a_channel_of_another_process_or_without_one_is_refused(path, client):
    with pytest.raises(Pid1Gone, match=r"Nothing listens on the channel .* No such file") as gone:
        client.status(KEY)
    assert gone.value.reason == "container_missing"
    with (
        listening(path, lambda *_: None),
        pytest.raises(Pid1Gone, match=f"belongs to process {os.getpid()}, not to the"),
    ):
        Pid1Client(path, 1).status(KEY)
