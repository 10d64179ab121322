"""Values that a container engine reports: images, containers, started steps and the results of kills."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_IMAGES = 200
"""The maximum number of image names that a node reports."""


@dataclass(frozen=True)
class ImageInfo:
    """An image that is stored on this node."""

    id: str
    """The engine's id, ``sha256:…``. It is a digest of the content, so it always means the same files."""
    digest: str | None
    """``repository@sha256:…`` if the image came from a registry, else None."""
    user: str
    """The ``USER`` of the image; empty if the image declares none."""
    uid: int | None
    """The numeric uid of `user`, read from the image's ``/etc/passwd`` if `user` is a name. None if `user` is empty or
    the image has no such account."""
    env: Mapping[str, str]
    """The environment variables that the image declares."""
    architecture: str = ""
    """The processor architecture in the engine's notation (``amd64``)."""
    volumes: tuple[str, ...] = ()
    """The paths that the image declares as ``VOLUME``."""


@dataclass(frozen=True)
class EngineInfo:
    """The container engine of a node: its version, the size of its host, and the images it has."""

    version: str
    cgroup_version: str
    """The version of control groups (cgroups) on the host, ``1`` or ``2``."""
    cpus: int
    memory_bytes: int
    images: tuple[str, ...]
    """The names of the images on the node in alphabetical order, at most `MOST_IMAGES`."""


@dataclass(frozen=True)
class ContainerState:
    """The state of a container, as the engine reports it. If `exists` is False, all other fields have defaults."""

    exists: bool
    running: bool = False
    started_at: str | None = None
    """The time of the last start, as the engine writes it. If the value changes, the container was started again."""
    exit_code: int | None = None
    """The exit code of the container's first process; None while it runs."""
    address: str | None = None
    """The container's IPv4 address on its bridge network; None while the container does not run."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """The directories of the host that hold the files a container writes outside the workspace directory."""

    directories: tuple[Path, ...]
    """The container's writable layer and its volumes, without those whose directories this worker may not read."""
    layer_seen: bool
    """Whether `directories` contains the writable layer. If not, `Containers.layer_bytes` returns its size."""


@dataclass(frozen=True)
class KillResult:
    """The result of killing processes in a container."""

    remaining: int
    """The number of processes that still run: 0, unless even restarting the container did not stop them."""
    rounds: int
    """The number of times the process table was read; 0 if the container does not run or the execution is unknown."""
    restarted: bool
    """Whether the container was restarted because its processes could not be killed one by one. A restart also kills
    all other executions in the container, so the caller records an event."""


@dataclass(frozen=True)
class OurContainer:
    """A container with Relay's labels."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]
