"""Answers of a container engine: images, containers, steps and kills as it sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_IMAGES = 200
"""The longest list of image names that a node reports."""


@dataclass(frozen=True)
class ImageInfo:
    """An image that is on this node."""

    id: str
    """The engine's id, ``sha256:…``; it names the same files for ever."""
    digest: str | None
    """``repository@sha256:…`` where the image came from a registry, else None."""
    user: str
    """The ``USER`` of the image, empty where it declares none."""
    uid: int | None
    """The number of `user`, looked up in the image where it is a name; None where there is no such account."""
    env: Mapping[str, str]
    """The environment that the image declares."""
    architecture: str = ""
    """The processor architecture as the engine names it (``amd64``)."""
    volumes: tuple[str, ...] = ()
    """The paths that the image declares as ``VOLUME``."""


@dataclass(frozen=True)
class EngineInfo:
    """The engine of a node: its version, its host's size, its images."""

    version: str
    cgroup_version: str
    """The version of control groups on the host, ``1`` or ``2``."""
    cpus: int
    memory_bytes: int
    images: tuple[str, ...]
    """The names of images on the node in alphabetical order, at most `MOST_IMAGES`."""


@dataclass(frozen=True)
class ExecState:
    """The engine's view of a started step."""

    running: bool
    """Whether the step's supervisor lives, which it does while a background process holds the log."""
    exit_code: int | None
    """The exit code of the supervisor, which is that of the step unless the supervisor was killed; None: it runs."""


@dataclass(frozen=True)
class ContainerState:
    """The engine's view of a container; every other field has its default where `exists` is False."""

    exists: bool
    running: bool = False
    started_at: str | None = None
    """The time of the last start as the engine writes it; another value means that it was started again since."""
    exit_code: int | None = None
    """The exit code of the first process; None while it runs."""
    address: str | None = None
    """The IPv4 address on its bridge; None while it does not run."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Directories of the host that hold the files a container writes outside of the workspace directory."""

    directories: tuple[Path, ...]
    """The container's writable layer and its volumes, as far as this worker can read their directories."""
    layer_seen: bool
    """Whether the layer is among `directories`; else `Containers.layer_bytes` tells its size."""


@dataclass(frozen=True)
class KillResult:
    """The result of a kill."""

    remaining: int
    """The number of processes that still run; 0 unless even a restart of the container failed to end them."""
    rounds: int
    """The number of looks at the process table; 0 where the container does not run."""
    restarted: bool
    """Whether the container was restarted, because its processes could not be ended one by one. That ended the other
    executions in it, too, so the caller writes an event."""


@dataclass(frozen=True)
class OurContainer:
    """A container that carries Relay's labels."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]
