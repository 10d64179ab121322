"""Ports, container networks and image builds that test processes on one machine must not take from each other."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import docker

from tests.support.waiting import eventually

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


def remove_containers(client: docker.DockerClient, label: str) -> None:
    """Remove all containers with this label; return when they are gone.

    A killed worker may have begun the removal of some of them.

    Raises:
        AssertionError: containers still exist after a minute.
    """

    def gone() -> bool:
        containers = client.api.containers(all=True, filters={"label": label})
        for container in containers:
            with suppress(docker.errors.APIError):  # the container is gone, or its removal has begun
                client.api.remove_container(container["Id"], force=True, v=True)
        return not containers

    eventually(gone, f"the removal of the containers with {label}")


def remove_networks(client: docker.DockerClient, name: str) -> None:
    """Remove the networks of this name once their containers are removed.

    After a kill, an engine may still list containers that no longer exist as connected.

    Raises:
        AssertionError: a network still exists after a minute.
    """

    def gone() -> bool:
        networks = [found for found in client.api.networks(names=[name]) if found["Name"] == name]
        for network in networks:
            with suppress(docker.errors.APIError):  # the engine still ends a container of the network
                _disconnect_all(client, network["Id"])
                client.api.remove_network(network["Id"])
        return not networks

    eventually(gone, f"the removal of the network {name}")


def _disconnect_all(client: docker.DockerClient, network: str) -> None:
    endpoints: dict[str, Any] = client.api.inspect_network(network)["Containers"] or {}
    for endpoint in endpoints.values():
        with suppress(docker.errors.APIError):  # the container has ended meanwhile
            client.api.disconnect_container_from_network(endpoint["Name"], network, force=True)
