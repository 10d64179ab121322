"""Find a container engine: a server that answers the Docker API at one of the usual addresses."""

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import docker
import requests

from relay_stack.errors import StackProblem

PROBE_SECONDS = 5
"""Longest wait for an answer at one address."""


class Reach(Enum):
    """The result of probing one address for an engine."""

    ANSWERS = "answers"
    ABSENT = "absent"
    """The socket does not exist."""
    DEAD = "dead"
    """The address exists, but no process answers the Docker API there."""
    FORBIDDEN = "forbidden"
    """The current user has no permission to connect."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answered."""

    host: str
    """Address of the Docker API: `unix://…` or `tcp://…`."""

    def client(self) -> docker.DockerClient:
        """Return a client of the engine. Its time-out of ten minutes is long enough for image builds."""
        return docker.DockerClient(base_url=self.host, timeout=600)


@dataclass(frozen=True)
class FailedSearch:
    """A search that found no engine.

    Attributes:
        found: address → result of probing it.
    """

    found: Mapping[str, Reach]

    @property
    def forbidden(self) -> str | None:
        """The first address to which the current user has no permission to connect; None if there is none."""
        return next((host for host, reach in self.found.items() if reach is Reach.FORBIDDEN), None)


def usual_hosts(environment: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Return the addresses to try, in order. If RELAY_DOCKER_HOST or DOCKER_HOST is set, return only its value."""
    for name in ("RELAY_DOCKER_HOST", "DOCKER_HOST"):
        if value := environment.get(name):
            return (value,)
    runtime = environment.get("XDG_RUNTIME_DIR")
    rootless = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock") if runtime else ()
    homely = (home / ".docker/run/docker.sock", home / ".docker/desktop/docker.sock")
    places = ("/var/run/docker.sock", *rootless, *homely, "/run/podman/podman.sock")
    return tuple(f"unix://{place}" for place in places)


def find_engine(environment: Mapping[str, str] = os.environ) -> Engine | FailedSearch:
    """Return the engine at the first address that answers, or the results of all probes if none answers.

    Raises:
        StackProblem: the environment names an address, and no engine answers there.
    """
    hosts = usual_hosts(environment, Path.home())
    found = {}
    for host in hosts:
        found[host] = probe(host)
        if found[host] is Reach.ANSWERS:
            return Engine(host)
    if len(hosts) == 1:
        raise StackProblem(
            f"No Docker API answers at {hosts[0]} ({found[hosts[0]].value}), which RELAY_DOCKER_HOST or DOCKER_HOST "
            f"names. Start it, or unset the variable."
        )
    return FailedSearch(found)


def probe(host: str) -> Reach:
    """Return whether the Docker API answers at an address; connecting and asking take at most PROBE_SECONDS each."""
    if host.startswith("unix://") and (reach := _probe_socket(host.removeprefix("unix://"))) is not Reach.ANSWERS:
        return reach
    try:
        client = docker.DockerClient(base_url=host, timeout=PROBE_SECONDS)
        with client.api:
            client.ping()
    except (docker.errors.DockerException, requests.RequestException):
        return Reach.DEAD
    return Reach.ANSWERS


def _probe_socket(path: str) -> Reach:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe_socket:
        probe_socket.settimeout(PROBE_SECONDS)
        try:
            probe_socket.connect(path)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:
                return Reach.FORBIDDEN
            return Reach.ABSENT if error.errno in {errno.ENOENT, errno.ENOTDIR} else Reach.DEAD
    return Reach.ANSWERS
