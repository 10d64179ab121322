"""Ports, container networks and image builds that test processes on one machine must not take from each other."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import docker

_choose = random.SystemRandom().choice
NETWORK = f"relay-test-{os.getpid()}-box"
"""Network of the containers that tests of this process make without a Relay."""
PORTS = range(12000, 32000)
"""Below the kernel's ephemeral ports: no outgoing connection takes one between its choice and its use."""


@cache
def engine() -> docker.DockerClient:
    """The process's one client of the container engine, never closed: each client keeps a connection open."""
    return docker.from_env()


def free_port() -> int:
    """A port of the loopback that is free; chosen at random, so that two processes rarely choose the same."""
    while True:
        port = _choose(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Held by one process of this account at a time, such as while it builds an image that others want too."""
    path = Path(tempfile.gettempdir()) / f"relay-test-lock-{os.geteuid()}-{name}"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
