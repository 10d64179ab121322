"""The interface for running Relay's own tools in short-lived containers (docs/threat-model.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple, Protocol


class ToolMount(NamedTuple):
    """A directory of the host that is mounted into the tool's container."""

    source: str
    """The path on the host."""
    target: str
    """The path in the container."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of a tool in a container.

    The container has no network, no capabilities except the listed ones, a read-only root and a tmpfs at ``/tmp``.
    """

    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[ToolMount, ...]
    user: str
    """The user that runs the tool, ``uid:gid``."""
    memory_bytes: int
    """The limit of memory in bytes; it includes files in the tmpfs. There is no swap."""
    timeout_seconds: float
    tmpfs_bytes: int = 64 << 20
    """The size of the tmpfs in bytes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that identify the container and have no other effect; ``relay.tool=1`` is added."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities to keep, such as ``CHOWN``; all others are dropped."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of a tool's run. A failing tool is reported as a value here; a failing engine raises an exception."""

    exit_code: int
    """The exit code of the tool; 127 if the image has no such program."""
    output: bytes
    """The first MiB of the tool's stdout."""
    errors: bytes
    """The last 16 KiB of the tool's stderr."""
    oom: bool = False
    """Whether the kernel killed one of the tool's processes because the memory limit was reached."""
    timed_out: bool = False
    """Whether the tool was killed after `ToolRun.timeout_seconds`."""
    cancelled: bool = False
    """Whether the tool was killed because ``cancelled`` was set."""


class ToolRunner(Protocol):
    """Runs tools in containers and removes the containers afterwards; usable from many threads."""

    def run(self, spec: ToolRun, cancelled: Event | None = None) -> ToolResult:
        """Run a tool until it exits, its timeout passes, or ``cancelled`` is set.

        The container is removed at the end of the run, or a moment later. If the engine stops answering, the run may be
        started again from the beginning, so every tool must be safe to repeat.

        Raises:
            StepFailed: ``image_unavailable``: the image is not on the node. ``engine_error``: the engine failed, or
                gave no answer for too long.
        """
        ...

    def sweep(self, is_dead: Callable[[str], bool]) -> int:
        """Remove some stopped tool containers that dead workers left behind.

        Args:
            is_dead: returns whether a worker is dead, given its incarnation (the identity of one run of a worker
                process). It returns False for workers of other nodes.

        Returns:
            The number of containers that were removed.

        Raises:
            StepFailed, EngineUnavailable: the engine failed or did not answer.
        """
        ...
