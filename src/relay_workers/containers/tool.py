"""The port through which Relay's own tools run in short-lived containers (docs/threat-model.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple, Protocol


class ToolMount(NamedTuple):
    """A directory of the host shown to the tool."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of a tool: no network, no capabilities but those named, a read-only root, a tmpfs at ``/tmp``."""

    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[ToolMount, ...]
    user: str
    """``uid:gid``."""
    memory_bytes: int
    """Includes what is written to the tmpfs; there is no swap."""
    timeout_seconds: float
    tmpfs_bytes: int = 64 << 20
    labels: Mapping[str, str] = field(default_factory=dict)
    """Identity only; ``relay.tool=1`` is added."""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a tool ended; a non-zero exit is a value, a broken engine an exception."""

    exit_code: int
    """127: the image has no such program."""
    output: bytes
    """Beginning of its stdout."""
    errors: bytes
    """End of its stderr."""
    oom: bool = False
    timed_out: bool = False
    cancelled: bool = False


class ToolRunner(Protocol):
    """Runs tools and leaves nothing behind."""

    def run(self, spec: ToolRun, cancelled: Event | None = None) -> ToolResult:
        """Run to the end, to the timeout, or until ``cancelled`` is set; the container is gone or going afterwards.

        Raises:
            StepFailed: reason ``image_unavailable`` or ``engine_error``.
        """
        ...

    def sweep(self, is_dead: Callable[[str], bool]) -> int:
        """Remove what workers that are dead left of their tools, a batch; the number of those removed.

        Raises:
            StepFailed, EngineUnavailable: the engine cannot be asked.
        """
        ...
