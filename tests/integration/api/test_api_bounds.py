"""Bounds that keep many or slow clients from harming others: connections, streams, bodies."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, api_in_process, make_tokens, settings_for
from tests.support.waiting import eventually

FILES = 512
CONNECTIONS = 100


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.mark.alone
def test_a_body_of_countless_unknown_keys_is_refused_before_it_is_looked_at(api: Api):
    body = b"{" + b",".join(b'"key%d":0' % number for number in range(280_000)) + b"}"
    headers = api.as_("ann") | {"Content-Type": "application/json"}
    began = time.monotonic()
    answer = api.client.post("/v1/runs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "body_too_complex")
    assert time.monotonic() - began < 3
    assert api.post("/v1/runs", RUN | {"prompt": "a, b, [c], {d} " * 20_000}).status_code == 202


def _serve(database_url: str, redis_url: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    settings = {
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
        "RELAY_API_PORT": str(port),
        "RELAY_API_MAX_CONNECTIONS": str(CONNECTIONS),
        "RELAY_API_MAX_STREAMS_PER_TOKEN": "3",
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = f"import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (128, {FILES}));"
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", limited + "runpy.run_module('relay_api', run_name='__main__')"],
            env=os.environ | settings,
            stderr=log,
        )
    assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)
    return process, port


@pytest.fixture
def served(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[tuple[httpx.Client, int, int]]:
    """An API of its own process with few files: a client, its port and its pid."""
    process, port = _serve(database_url, redis_url, tmp_path)
    try:
        headers = {"Authorization": f"Bearer {make_tokens(database)['ann']}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:

            def answers() -> bool:
                with suppress(httpx.TransportError):
                    return client.get("/healthz").status_code == 200
                return False

            eventually(answers, seconds=60)
            yield client, port, process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def half_sent(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have begun a request and never end its headers."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with suppress(OSError):
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            sockets.append(one)
        yield sockets


def test_connections_are_bounded_and_those_that_say_nothing_are_cut_off(
    served: tuple[httpx.Client, int, int], tmp_path: Path
):
    client, port, pid = served
    assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE) == (FILES, FILES), "raised to the hard limit at the start"
    client.close()  # its place is among those that are taken
    with half_sent(port, CONNECTIONS + 200) as sockets:
        answer = sockets[-1].recv(1000)
        assert answer.startswith(b"HTTP/1.1 503 ") or not answer
        began = time.monotonic()
        sockets[0].settimeout(30)
        with suppress(ConnectionResetError):
            assert sockets[0].recv(1000) == b"", "its headers did not come in time"
        assert time.monotonic() - began < 20
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200, "the others still hold on"
    lines = (tmp_path / "api.log").read_text().splitlines()
    assert len([line for line in lines if "too many connections" in line]) == 1
    assert len(lines) < 50


def test_a_slow_but_steady_client_is_served(served: tuple[httpx.Client, int, int]):
    _, port, _ = served
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        for piece in (b"GET /healthz HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n", b"\r\n"):
            one.sendall(piece)
            time.sleep(0.2)
        assert one.recv(100).startswith(b"HTTP/1.1 200")


def test_streams_of_one_token_are_bounded_and_a_closed_one_makes_room(served: tuple[httpx.Client, int, int]):
    client, _, _ = served
    made = client.post("/v1/runs", json=RUN).json()
    held = []
    with ExitStack() as stack:
        for _ in range(3):
            stream = stack.enter_context(client.stream("GET", made["links"]["logs"]))
            held.append(stream.iter_bytes())  # forgotten it would be closed
            next(held[-1])
        refused = client.get(made["links"]["logs"])
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert refused.headers["Retry-After"] == "5"
        assert client.get("/v1/executions").status_code == 200
    eventually(lambda: _begins(client, made["links"]["logs"]), seconds=20)


def _begins(client: httpx.Client, path: str) -> bool:
    with client.stream("GET", path) as stream:
        return stream.status_code == 200
