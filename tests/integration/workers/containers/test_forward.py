"""Dev servers in a container, reached from a loopback port of this node."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from relay_workers.containers.docker.forward import Forwarder
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker

EVERYWHERE, LOOPBACK, LOOPBACK_6 = "0.0.0.0", "127.0.0.1", "::1"


@pytest.fixture
def forwarder(docker_engine):
    forwarder = Forwarder(docker_engine)
    yield forwarder
    forwarder.shutdown()


def serve(workspace, forwarder, address=EVERYWHERE, port=8000, gid=20001):
    step = workspace.start(f"cd /workspace && exec python3 -m http.server --bind {address} {port} >/dev/null 2>&1", gid)
    eventually(lambda: forwarder.probe(workspace.container, port), "the server answers")
    return step


@pytest.mark.parametrize("address", [EVERYWHERE, LOOPBACK, LOOPBACK_6])
def test_a_server_is_reached_wherever_it_listens(workspace, forwarder, address):
    data = os.urandom(3 << 20)
    (workspace.spec.workspace_dir / "data").write_bytes(data)
    serve(workspace, forwarder, address)
    port = forwarder.open("one", workspace.container, 8000)
    assert forwarder.open("one", workspace.container, 8000) == port
    with ThreadPoolExecutor(4) as clients:
        urls = [f"http://127.0.0.1:{port}/data"] * 8
        assert all(answer == data for answer in clients.map(lambda url: urlopen(url, timeout=20).read(), urls))


def test_nothing_listens_is_said(calm_workspace, forwarder):
    assert not forwarder.probe(calm_workspace.container, 8000)
    port = forwarder.open("one", calm_workspace.container, 8000)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        assert client.recv(1) == b""


def test_only_the_loopback_of_the_node_listens(calm_workspace, forwarder):
    port = forwarder.open("one", calm_workspace.container, 8000)
    with Path("/proc/net/tcp").open() as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert [where for where in listening if where.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_the_container_is_resolved_at_each_connection(workspace, forwarder):
    port = forwarder.open("one", workspace.container, 8000)
    serve(workspace, forwarder)
    assert urlopen(f"http://127.0.0.1:{port}/", timeout=20).status == 200
    workspace.containers.restart(workspace.container)
    serve(workspace, forwarder, LOOPBACK)
    assert urlopen(f"http://127.0.0.1:{port}/", timeout=20).status == 200


def test_closing_ends_connections_and_frees_the_port(workspace, forwarder):
    serve(workspace, forwarder)
    port = forwarder.open("one", workspace.container, 8000)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /")
        forwarder.close("one")
        forwarder.close("one")
        with suppress(ConnectionResetError):  # one that was still waiting to be accepted
            assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert forwarder.open("one", workspace.container, 8000, local_port=port) == port


def test_a_wanted_port_that_is_taken_is_replaced(calm_workspace, forwarder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        assert forwarder.open("one", calm_workspace.container, 8000, local_port=wanted) != wanted


def test_both_directions_at_once_through_the_container(workspace, forwarder):
    """Neither direction waits for the other: more than any buffer is under way in both."""
    echo = """#!/usr/bin/env python3
import socket
server = socket.create_server(("127.0.0.1", 8000))
while True:
    peer, _ = server.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()
"""
    workspace.start(echo)
    eventually(lambda: forwarder.probe(workspace.container, 8000), "the server answers")
    port = forwarder.open("one", workspace.container, 8000)
    data = os.urandom(2 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, ThreadPoolExecutor(1) as sender:

        def send():
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sent = sender.submit(send)
        with client.makefile("rb") as incoming:
            assert incoming.read() == data
        sent.result()


def test_a_server_on_the_bridge_alone_is_reached(workspace, forwarder):
    serve(workspace, forwarder, workspace.containers.inspect(workspace.container).address)
    port = forwarder.open("one", workspace.container, 8000)
    assert urlopen(f"http://127.0.0.1:{port}/", timeout=20).status == 200


def test_a_forwarded_connection_is_no_process_of_the_container(workspace, forwarder):
    step = serve(workspace, forwarder, LOOPBACK)
    port = forwarder.open("one", workspace.container, 8000)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as answer:
            assert b"200 OK" in answer.readline()
            assert len(workspace.processes()) == len(workspace.processes(step.gid)) == 1
