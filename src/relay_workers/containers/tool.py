"""The port through which Relay's own tools run in short-lived containers (docs/threat-model.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple, Protocol


class ToolMount(NamedTuple):
    """A directory of the host that the tool sees."""

    source: str
    """The path on the host."""
    target: str
    """The path in the container."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of a tool: no network, no capabilities but those named, a read-only root, a tmpfs at ``/tmp``."""

    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[ToolMount, ...]
    user: str
    """The user that runs the tool, ``uid:gid``."""
    memory_bytes: int
    """The limit of memory, files in the tmpfs included; there is no swap."""
    timeout_seconds: float
    tmpfs_bytes: int = 64 << 20
    """The size of the tmpfs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the container, for identity only; ``relay.tool=1`` is added."""
    capabilities: tuple[str, ...] = ()
    """Names of Linux capabilities, such as ``CHOWN``; all others are dropped."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The end of a tool; a tool that fails is a value, an engine that fails an exception."""

    exit_code: int
    """127: the image has no such program."""
    output: bytes
    """The first MiB of its stdout."""
    errors: bytes
    """The last 16 KiB of its stderr."""
    oom: bool = False
    """The kernel ended a process of it for memory."""
    timed_out: bool = False
    """It was ended after `ToolRun.timeout_seconds`."""
    cancelled: bool = False
    """It was ended because ``cancelled`` was set."""


class ToolRunner(Protocol):
    """Runs tools and leaves no container behind; usable from many threads."""

    def run(self, spec: ToolRun, cancelled: Event | None = None) -> ToolResult:
        """Run a tool to its end, to its timeout, or until ``cancelled`` is set.

        The container is removed at the end, or a moment later. A run may be started again after a silence of the
        engine, so a tool has to bear that.

        Raises:
            StepFailed: ``image_unavailable``: the image is not on the node. ``engine_error``: the engine failed, or was
                silent for too long.
        """
        ...

    def sweep(self, is_dead: Callable[[str], bool]) -> int:
        """Remove a batch of ended tool containers of dead workers.

        Args:
            is_dead: whether the incarnation of a worker with this name is over; False for workers of other nodes.

        Returns:
            The number of containers that were removed.

        Raises:
            StepFailed, EngineUnavailable: the engine cannot be asked.
        """
        ...
