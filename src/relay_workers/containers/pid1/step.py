"""A step to start: its program, its user and its files."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from relay_workers.containers.pid1.messages import Key, StartFlag
from relay_workers.containers.pid1.requests import Start

SCRIPT_PATH = "/proc/self/fd/63"
"""The path at which a step finds its script."""


@dataclass(frozen=True)
class TerminalSize:
    """The size of a terminal in characters."""

    columns: int
    rows: int


@dataclass(frozen=True)
class StepFiles:
    """Descriptors of the node's files to which relay-pid1 writes, open for writing and without ``O_APPEND``.

    The caller closes its own copies after the start, also after one that failed.
    """

    record: int
    """As made by `record.create`."""
    stdout: int | None = None
    """None: what the step writes is lost; with a terminal: only the client of `Pid1Client.pty` reads it."""
    stderr: int | None = None


@dataclass(frozen=True)
class Step:
    """One step to start."""

    key: Key
    uid: int
    gid: int
    """The gid of this execution alone."""
    cwd: str
    """A path in the container."""
    argv: Sequence[str] = ("/bin/sh", SCRIPT_PATH)
    """A program without a slash is looked up in the PATH of `env`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment: nothing is added to it."""
    groups: tuple[int, ...] = ()
    script: bytes | None = None
    """The content of the file at `SCRIPT_PATH`; None if there is none."""
    stdin: bytes | int | None = None
    """The content of the step's standard input, or the descriptor of a pipe's reading end; None for ``/dev/null``."""
    deadline_seconds: float | None = None
    """Seconds after which relay-pid1 kills the execution by itself; None for no limit."""
    grace_seconds: float = 0.0
    """Seconds between TERM and KILL of that kill."""
    terminal: TerminalSize | None = None
    """The terminal of the step; None for pipes."""
    root_capabilities: bool = False
    """Whether a step with uid 0 keeps the capabilities of the container."""
    watch: bool = True
    """Whether `Pid1Client.next_event` returns the events of this execution."""


def start_request(step: Step, present: Collection[StartFlag]) -> Start:
    """Return the request that starts a step.

    Args:
        step: the step.
        present: the flags of the descriptors that are sent with the request.
    """
    flags = StartFlag.WATCH if step.watch else StartFlag(0)
    for flag in present:
        flags |= flag
    if step.terminal:
        flags |= StartFlag.TTY
    if step.root_capabilities:
        flags |= StartFlag.ROOT_CAPABILITIES
    size = step.terminal or TerminalSize(0, 0)
    return Start(
        key=step.key,
        uid=step.uid,
        gid=step.gid,
        flags=flags,
        groups=step.groups,
        deadline_ms=milliseconds(step.deadline_seconds or 0),
        grace_ms=milliseconds(step.grace_seconds),
        columns=size.columns,
        rows=size.rows,
    )


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds, rounded up; a negative one is 0."""
    return max(math.ceil(seconds * 1000), 0)
