"""Finds a container engine: a server that answers the Docker API at one of the usual addresses."""

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
"""Longest wait for an answer of one address."""


class Reach(Enum):
    """The result of a probe of one address."""

    ANSWERS = "answers"
    ABSENT = "absent"
    """There is no such socket."""
    DEAD = "dead"
    """There is a socket, but no process answers the Docker API."""
    FORBIDDEN = "forbidden"
    """The present user has no right to connect."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answered."""

    host: str
    """Address of the Docker API: `unix://…` or `tcp://…`."""

    def client(self) -> docker.DockerClient:
        """A client of the engine; its timeout of ten minutes allows image builds."""
        return docker.DockerClient(base_url=self.host, timeout=600)


@dataclass(frozen=True)
class FailedSearch:
    """A search that found no engine.

    Attributes:
        found: address → result of its probe.
    """

    found: Mapping[str, Reach]

    @property
    def forbidden(self) -> str | None:
        """Address of an engine that the present user has no right to use; None where there is none."""
        return next((host for host, reach in self.found.items() if reach is Reach.FORBIDDEN), None)


def usual_hosts(environment: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Addresses to try, in order; where RELAY_DOCKER_HOST or DOCKER_HOST is set, only that one."""
    for name in ("RELAY_DOCKER_HOST", "DOCKER_HOST"):
        if value := environment.get(name):
            return (value,)
    runtime = environment.get("XDG_RUNTIME_DIR")
    rootless = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock") if runtime else ()
    homely = (home / ".docker/run/docker.sock", home / ".docker/desktop/docker.sock")
    places = ("/var/run/docker.sock", *rootless, *homely, "/run/podman/podman.sock")
    return tuple(f"unix://{place}" for place in places)


def find_engine(environment: Mapping[str, str] = os.environ) -> Engine | FailedSearch:
    """The engine at the first address that answers, else the results of all probes.

    Raises:
        StackProblem: the environment names an address, and it does not answer.
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
    """Ask one address for the Docker API; takes at most PROBE_SECONDS for each of connecting and asking."""
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
