"""A connection to the container engine of this node."""

import os
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.utils import kwargs_from_env

from relay_workers.containers.docker.failure import translated
from relay_workers.containers.port import EngineUnavailable

TIMEOUT_SECONDS = 60
"""The longest silence of the engine within one answer."""
KILL_TIMEOUT_SECONDS = 20
"""The longest silence during a kill: an engine that answers other requests is then blocked by the container."""
_POOL_SIZE = 64
"""Connections that are kept open; further ones are closed after their request."""


def find_engine(configured: str | None, environment: Mapping[str, str]) -> str:
    """The address of the engine: the setting, else ``DOCKER_HOST``, else the first known socket that exists.

    Args:
        configured: RELAY_DOCKER_HOST, if it is set.
        environment: of this process.

    Raises:
        EngineUnavailable: neither is set, and no socket exists.
    """
    named = configured or environment.get("DOCKER_HOST")
    if named:
        return named
    runtime = environment.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    sockets = (
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    )
    for path in sockets:
        if Path(path).is_socket():
            return f"unix://{path}"
    message = "no container engine: no socket at " + ", ".join(sockets) + "; start one or set RELAY_DOCKER_HOST"
    raise EngineUnavailable(message, retryable=True)


def connect(
    configured: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: int = TIMEOUT_SECONDS,
) -> docker.APIClient:
    """A client with connections of its own, usable from many threads; asks the engine for its version.

    Args:
        configured: RELAY_DOCKER_HOST, if it is set.
        environment: of this process, if it is not ``os.environ``.
        timeout_seconds: the longest silence of the engine within one answer.

    Raises:
        EngineUnavailable: the engine does not answer.
    """
    env = os.environ if environment is None else environment
    address = find_engine(configured, env)
    with translated():
        tls = kwargs_from_env(dict(env)).get("tls", False) if address.startswith("tcp:") else False
        return docker.APIClient(
            base_url=address, version="auto", timeout=timeout_seconds, max_pool_size=_POOL_SIZE, tls=tls
        )


def connect_high_level(configured: str | None = None) -> docker.DockerClient:
    """A client of the SDK's higher level, for short-lived containers; asks the engine for nothing yet.

    Raises:
        EngineUnavailable: there is no engine.
    """
    return docker.DockerClient(base_url=find_engine(configured, os.environ))
