"""The bootstrap and the channel, with processes of this machine in the place of relay-pid1."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay_workers.containers.pid1.channel import BOOTSTRAP, BootstrapListener, connect, peer_pid
from relay_workers.containers.pid1.errors import Pid1Gone, Pid1Silent
from relay_workers.containers.pid1.messages import Message, Verb, decode_message, encode_message


def seqpacket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(peer: socket.socket, verb: int) -> None:
    peer.send(encode_message(Message(verb, 0, b"")))


@contextmanager
def pid1(directory: Path, answer: int = Verb.READY) -> Iterator[list[socket.socket]]:
    """Do relay-pid1's part of the bootstrap in a thread; yields the channel once the bootstrap is over."""
    got: list[socket.socket] = []

    def run() -> None:
        with seqpacket() as peer:
            peer.connect(str(directory / BOOTSTRAP))
            send(peer, Verb.HELLO)
            packet, descriptors, _, _ = socket.recv_fds(peer, 100, 2)
            if packet:
                assert decode_message(packet).verb == Verb.BIND
                got.append(socket.socket(fileno=descriptors[0]))
                got[0].listen(4)
                send(peer, answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield got
    finally:
        thread.join()
        for each in got:
            each.close()


def test_the_channel_is_handed_over_and_shows_who_listens(tmp_path):
    with BootstrapListener(tmp_path) as listener, pid1(tmp_path) as got:
        listener.hand_over(tmp_path / "channel", os.getpid, seconds=10)
        with connect(tmp_path / "channel", os.getpid(), seconds=1) as connected:
            assert peer_pid(connected) == os.getpid()
            accepted, _ = got[0].accept()
            accepted.send(b"answer")
            assert connected.recv(10) == b"answer"
            accepted.close()


def test_paths_may_be_longer_than_a_socket_address(tmp_path):
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    with BootstrapListener(deep) as listener:
        short = tmp_path / "short"
        short.symlink_to(deep)
        with pid1(short):
            listener.hand_over(deep / "channel", os.getpid, seconds=10)
            connect(deep / "channel", os.getpid(), seconds=1).close()


def test_a_second_bootstrap_replaces_the_channel(tmp_path):
    for _ in range(2):  # as after the restart of a container
        with BootstrapListener(tmp_path) as listener, pid1(tmp_path):
            listener.hand_over(tmp_path / "channel", os.getpid, seconds=10)
            connect(tmp_path / "channel", os.getpid(), seconds=1).close()
    with pytest.raises(Pid1Gone, match=r"Nothing listens on the channel .* Connection refused"):
        connect(tmp_path / "channel", os.getpid(), seconds=1)


def test_another_process_gets_no_channel_and_holds_up_nothing(tmp_path):
    init = iter([os.getpid() + 1, os.getpid()])
    with BootstrapListener(tmp_path) as listener, seqpacket() as intruder:
        intruder.connect(str(tmp_path / BOOTSTRAP))
        with pid1(tmp_path):
            listener.hand_over(tmp_path / "channel", lambda: next(init), seconds=10)
        assert intruder.recv(100) == b""


@pytest.mark.parametrize("words", [b"", b"nonsense", encode_message(Message(Verb.START, 0, b""))])
def test_a_process_that_does_not_speak_the_protocol_gets_no_channel(tmp_path, words):
    with BootstrapListener(tmp_path) as listener, seqpacket() as intruder:
        intruder.connect(str(tmp_path / BOOTSTRAP))
        if words:
            intruder.send(words)
        else:
            intruder.shutdown(socket.SHUT_WR)
        with pytest.raises(Pid1Silent, match=r"did not connect within 0\.1 s"):
            listener.hand_over(tmp_path / "channel", os.getpid, seconds=0.1)
        assert not (tmp_path / "channel").exists()


def test_a_bootstrap_that_is_not_confirmed_is_repeated(tmp_path):
    with BootstrapListener(tmp_path) as listener:
        with pid1(tmp_path, answer=Verb.HELLO), pytest.raises(Pid1Silent):
            listener.hand_over(tmp_path / "channel", os.getpid, seconds=0.2)
        with pid1(tmp_path):
            listener.hand_over(tmp_path / "channel", os.getpid, seconds=10)


def test_a_full_queue_of_connections_is_silence(tmp_path):
    with seqpacket() as listener:
        listener.bind(str(tmp_path / "channel"))
        listener.listen(0)
        with (
            connect(tmp_path / "channel", os.getpid(), seconds=1),
            pytest.raises(Pid1Silent, match=r"accepted no connection within 0\.05 s"),
        ):
            connect(tmp_path / "channel", os.getpid(), seconds=0.05)


def test_no_descriptor_is_left(tmp_path):
    before = sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
    with pytest.raises(Pid1Gone):
        connect(tmp_path / "none", 1, seconds=1)
    with BootstrapListener(tmp_path) as listener, pid1(tmp_path):
        listener.hand_over(tmp_path / "channel", os.getpid, seconds=10)
        with pytest.raises(Pid1Gone, match="belongs to process"):
            connect(tmp_path / "channel", 1, seconds=1)
    assert sorted(entry.name for entry in Path("/proc/self/fd").iterdir()) == before
