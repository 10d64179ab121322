"""Connections to the container engine of this node."""

import os
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.utils import kwargs_from_env

from relay_workers.containers.docker.failure import translated
from relay_workers.containers.port import EngineUnavailable

TIMEOUT_SECONDS = 60
"""The longest time that the engine may send nothing during one response."""
KILL_TIMEOUT_SECONDS = 20
"""The longest time that the engine may send nothing during a kill.

It is shorter because a container can block the engine's requests about this container while all others still work.
"""
_POOL_SIZE = 64
"""Number of connections that are kept open; additional ones are closed after their request."""


def find_engine(configured: str | None, environment: Mapping[str, str]) -> str:
    """Return the engine's address: the setting, else ``DOCKER_HOST``, else the first known socket that exists.

    Args:
        configured: the value of RELAY_DOCKER_HOST; None if it is not set.
        environment: the environment variables of this process.

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
    """Return a client with its own connections, usable from many threads. Requests the engine's version.

    Args:
        configured: the value of RELAY_DOCKER_HOST; None if it is not set.
        environment: the environment variables of this process; None for ``os.environ``.
        timeout_seconds: the longest time that the engine may send nothing during one response.

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
    """Return the SDK's high-level client, for short-lived containers. Sends no request yet.

    Args:
        configured: the value of RELAY_DOCKER_HOST; None if it is not set.

    Raises:
        EngineUnavailable: no address is configured and no engine's socket exists.
    """
    return docker.DockerClient(base_url=find_engine(configured, os.environ))
