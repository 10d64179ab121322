"""Whether a node has room for one more workspace: a pure decision, the same for the claim, the API and the doctor."""

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True)
class Capacity:
    """What a node may promise; None where it has not said."""

    max_workspaces: int | None
    memory_bytes: int | None
    pids: int | None = None
    """Processes and threads."""


@dataclass(frozen=True)
class Wanted:
    """What one workspace asks for: its limits."""

    memory_bytes: int
    pids: int


@dataclass(frozen=True)
class Load:
    """What a node has promised: to workspaces in which a step runs, or in which a chain is between two steps."""

    workspaces: int
    memory_bytes: int
    """Sum of their memory limits."""
    pids: int = 0
    """Sum of their limits of processes and threads."""


def told(workspaces: int, memory_bytes: int, capacity: Capacity) -> str:
    """What is promised of what there is, in a few words."""
    most = "any number of" if capacity.max_workspaces is None else capacity.max_workspaces
    size = "any number of" if capacity.memory_bytes is None else f"{capacity.memory_bytes / GB:.1f}"
    return f"{workspaces} of {most} workspaces, {memory_bytes / GB:.1f} of {size} GB"


def why_no_room(load: Load, capacity: Capacity, wanted: Wanted) -> str | None:
    """Why one more workspace does not fit, or None where it does.

    A node that carries nothing takes any one: a limit is no reservation, and a workspace larger than every node would
    wait for ever.

    Args:
        load: of the node, without that workspace.
        capacity: of the node.
        wanted: by that workspace.
    """
    if load.workspaces == 0:
        return None
    if capacity.max_workspaces is not None and load.workspaces >= capacity.max_workspaces:
        return f"{load.workspaces} of {capacity.max_workspaces} workspaces are at work"
    if capacity.memory_bytes is not None and load.memory_bytes + wanted.memory_bytes > capacity.memory_bytes:
        promised, of, more = (
            f"{size / GB:.1f}" for size in (load.memory_bytes, capacity.memory_bytes, wanted.memory_bytes)
        )
        return f"{promised} of {of} GB promised, {more} GB more asked for"
    if capacity.pids is not None and load.pids + wanted.pids > capacity.pids:
        return f"{load.pids} of {capacity.pids} processes promised, {wanted.pids} more asked for"
    return None
