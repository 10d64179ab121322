"""Decisions about nodes: whether a node is alive, and whether it has capacity for one more workspace.

Two words describe the state of a node. *Health* is the node's own report. *Liveness* follows from the age of its last
heartbeat on the clock of Postgres: the presence sweep (a periodic check by the workers) lowers it, and a heartbeat sets
it to online again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import NodeHealth, Reason

OUTAGE_SECONDS = 15.0
"""Seconds (three periods) without a presence sweep after which Relay itself counts as having been down.

The silence of nodes during that time does not count.
"""
GIB = 1 << 30


@dataclass(frozen=True)
class Bounds:
    """How long a node may be silent, in seconds. A bound is passed when the silence is longer than it.

    After Relay itself was down, silence is counted from one heartbeat interval after its return, so that every living
    node can send a heartbeat first.

    Raises:
        ValueError: the three values do not grow in the order of the fields.
    """

    heartbeat_seconds: float = 15.0
    """Seconds between two heartbeats of a node."""
    degraded_seconds: float = 30.0
    """Seconds of silence after which a node is `degraded`."""
    offline_seconds: float = 60.0
    """Seconds of silence after which a node is `offline`, and its executions are ended as lost."""

    def __post_init__(self) -> None:
        if not self.heartbeat_seconds < self.degraded_seconds < self.offline_seconds:
            raise ValueError("the seconds to a heartbeat, to degraded and to offline have to grow in this order")


def health(*, engine_answers: bool, free_bytes: int | None, min_free_bytes: int) -> NodeHealth:
    """Return the health that a node reports: the worst of its problems. A drained node is well; its row tells more.

    Args:
        engine_answers: whether the container engine answers.
        free_bytes: free disk space of the node's data directory; None: its disk does not answer.
        min_free_bytes: free disk space below which the node reports `disk_pressure`.
    """
    if not engine_answers:
        return NodeHealth.ENGINE_UNAVAILABLE
    if free_bytes is None:
        return NodeHealth.DISK_UNAVAILABLE
    if free_bytes < min_free_bytes:
        return NodeHealth.DISK_PRESSURE
    return NodeHealth.OK


def closed_by_operator(*, draining: bool, revoked: bool) -> str | None:
    """Return the word for what an operator told a node: `revoked`, else `draining`; None: it takes work."""
    if revoked:
        return "revoked"
    return "draining" if draining else None


def end_of_lost_run(node_id: str, kill_requested_by: str | None, *, revoked: bool = False) -> Transition:
    """Return the end of a running execution whose node is offline, or is revoked and has lost the worker that ran it.

    Args:
        node_id: the node.
        kill_requested_by: who requested a kill before; the execution is then `killed`. None: it fails with `node_lost`.
        revoked: whether the node lives, but is revoked.
    """
    lost = f"node {node_id} is revoked, and its worker ended" if revoked else f"node {node_id} fell silent"
    if kill_requested_by is not None:
        return machine.killed(f"killed by {kill_requested_by}; {lost} before it could say so")
    return machine.failed(Reason.NODE_LOST, f"{lost} while it ran, so how it went on is not known")


@dataclass(frozen=True)
class Capacity:
    """The most that a node may promise to workspaces, as the sum of their limits.

    None for a value: the node has no bound for it.
    """

    max_workspaces: int | None
    memory_bytes: int | None
    pids: int | None = None
    """Number of processes and threads."""


@dataclass(frozen=True)
class Demand:
    """The limits of one workspace: the capacity that its node must have free."""

    memory_bytes: int
    pids: int
    """Number of processes and threads."""


@dataclass(frozen=True)
class Load:
    """The capacity that a node has promised to workspaces: so much is reserved for them, by their limits.

    A workspace counts while a step of it runs, while its chain is between two steps, and while an ended step may have
    left processes running.
    """

    workspaces: int
    memory_bytes: int
    """Sum of the workspaces' memory limits."""
    pids: int = 0
    """Sum of the workspaces' limits of processes and threads."""


@dataclass(frozen=True)
class WorkerSlots:
    """The slots of one worker: threads of which each carries out one Celery task."""

    worker: str
    """Celery's name of the worker."""
    used: int
    """Executions that it carries out now. A dev server needs a slot only while it starts, and is not counted."""
    slots: int | None
    """Number of its slots, which is its concurrency; None: the node has not reported it yet."""


def worker_slots(living: Iterable[str], used: Mapping[str, int], slots: int | None) -> tuple[WorkerSlots, ...]:
    """Return the slots of each worker of a node, ordered by the workers' numbers.

    Args:
        living: names of the workers that the node reported as alive.
        used: number of executions by the name of the worker that runs them; it may name further workers.
        slots: number of slots of each worker.
    """
    names = sorted({*living, *used}, key=lambda name: (len(name), name))
    return tuple(WorkerSlots(name, used.get(name, 0), slots) for name in names)


def slots_text(workers: Iterable[tuple[int, int | None]]) -> str:
    """Return the used slots and all slots of some workers as a short text for people; `-` without a worker.

    Args:
        workers: used slots and all slots of each worker.
    """
    known = list(workers)
    most = [slots for _, slots in known if slots is not None]
    used = sum(used for used, _ in known)
    if not known:
        return "-"
    return f"{used} of {sum(most)}" if len(most) == len(known) else str(used)


def load_text(workspaces: int, memory_bytes: int, capacity: Capacity) -> str:
    """Return a load and the capacity it is part of as a short text for people."""
    most = "any number of" if capacity.max_workspaces is None else capacity.max_workspaces
    size = "any number of" if capacity.memory_bytes is None else f"{capacity.memory_bytes / GIB:.1f}"
    return f"{workspaces} of {most} workspaces, {memory_bytes / GIB:.1f} of {size} GiB"


def why_no_room(load: Load, capacity: Capacity, demand: Demand) -> str | None:
    """Return why one more workspace does not fit on a node; None if it fits.

    The claim, the API and `relay doctor` use this. A node without load takes any workspace: limits are no reservations,
    and a workspace that is larger than every node would otherwise wait forever.

    Args:
        load: the node's load without that workspace.
        capacity: the node's capacity.
        demand: the workspace's limits.
    """
    if load.workspaces == 0:
        return None
    if capacity.max_workspaces is not None and load.workspaces >= capacity.max_workspaces:
        return f"{load.workspaces} of {capacity.max_workspaces} workspaces are at work"
    if capacity.memory_bytes is not None and load.memory_bytes + demand.memory_bytes > capacity.memory_bytes:
        promised, of, more = (
            f"{size / GIB:.1f}" for size in (load.memory_bytes, capacity.memory_bytes, demand.memory_bytes)
        )
        return f"{promised} of {of} GiB promised, {more} GiB more asked for"
    if capacity.pids is not None and load.pids + demand.pids > capacity.pids:
        return f"{load.pids} of {capacity.pids} processes promised, {demand.pids} more asked for"
    return None
