"""Ports, container networks and image builds that test processes on one machine must not take from each other."""

import fcntl
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import docker

from tests.support.waiting import eventually

_choose = random.SystemRandom().choice
NETWORK = f"relay-test-{os.getpid()}-box"
"""Network of the containers that tests of this process make without a Relay."""
REMOVALS_AT_ONCE = 8
"""A removal takes a second, and the engine waits in it more than it works."""
GHOST_SECONDS = 10.0
"""How long an engine may take to forget the last container of a network."""
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


def remove_containers(client: docker.DockerClient, label: str) -> None:
    """Remove all containers with this label; return when they are gone.

    A killed worker may have begun the removal of some of them.

    Raises:
        AssertionError: containers still exist after a minute.
    """

    def gone() -> bool:
        containers = client.api.containers(all=True, filters={"label": label})
        with ThreadPoolExecutor(REMOVALS_AT_ONCE) as threads:
            list(threads.map(remove, (container["Id"] for container in containers)))
        return not containers

    def remove(container_id: str) -> None:
        with suppress(docker.errors.APIError):  # the container is gone, or its removal has begun
            client.api.remove_container(container_id, force=True, v=True)

    eventually(gone, f"the removal of the containers with {label}")


def remove_networks(client: docker.DockerClient, name: str) -> None:
    """Remove the networks of this name once their containers are removed.

    After a kill, Docker Engine 20.10 may refuse the removal for ever, though it lists no container in the network ("has
    active endpoints"). Then the network is left until the engine's next start.

    Raises:
        AssertionError: a network still has containers after a minute.
    """
    forgotten = time.monotonic() + GHOST_SECONDS

    def gone() -> bool:
        networks = [found for found in client.api.networks(names=[name]) if found["Name"] == name]
        left = [network["Id"] for network in networks if not _is_removed(client, network["Id"])]
        return not left or (time.monotonic() > forgotten and not any(_connected(client, one) for one in left))

    eventually(gone, f"the removal of the network {name}")


def _is_removed(client: docker.DockerClient, network: str) -> bool:
    """Disconnect the containers of a network and remove it; False: the engine refused."""
    try:
        for container in _connected(client, network):
            client.api.disconnect_container_from_network(container, network, force=True)
        client.api.remove_network(network)
    except docker.errors.NotFound:
        return True
    except docker.errors.APIError:  # the engine still ends a container of the network
        return False
    return True


def _connected(client: docker.DockerClient, network: str) -> list[str]:
    """Return the names of the containers that the engine lists in a network."""
    listed: dict[str, Any] = client.api.inspect_network(network)["Containers"] or {}
    return [container["Name"] for container in listed.values()]
