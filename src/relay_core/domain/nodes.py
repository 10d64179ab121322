"""Decisions about nodes: their presence (health and liveness), and whether a node has room for one more workspace.

Two words tell the state of a node. *Health* is the node's own report. *Liveness* follows from the age of its last
heartbeat on the clock of Postgres. Neither is written by the owner of the other.
"""

from dataclasses import dataclass

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import NodeHealth, Reason

OUTAGE_SECONDS = 15.0
"""Seconds (three ticks) without a sweep by any worker after which Relay itself was away: no node's silence counts."""
GB = 10**9


@dataclass(frozen=True)
class Bounds:
    """Seconds for which a node may be silent. A bound is passed when the silence is longer than it.

    After Relay was away itself, silence is counted from one heartbeat interval after its return, so that every living
    node can send a heartbeat before anything is concluded.

    Raises:
        ValueError: the three do not grow in the order of the fields.
    """

    heartbeat_seconds: float = 15.0
    """Between two heartbeats of a node."""
    degraded_seconds: float = 30.0
    """After which a node is `degraded`."""
    offline_seconds: float = 60.0
    """After which a node is `offline`, and its executions are ended."""

    def __post_init__(self) -> None:
        if not self.heartbeat_seconds < self.degraded_seconds < self.offline_seconds:
            raise ValueError("the seconds to a heartbeat, to degraded and to offline have to grow in this order")


def health(*, engine_answers: bool, draining: bool, free_bytes: int, min_free_bytes: int) -> NodeHealth:
    """The health that a node reports: the worst of its problems."""
    if not engine_answers:
        return NodeHealth.ENGINE_UNAVAILABLE
    if free_bytes < min_free_bytes:
        return NodeHealth.DISK_PRESSURE
    return NodeHealth.DRAINING if draining else NodeHealth.OK


def end_of_lost_run(node_id: str, kill_requested_by: str | None) -> Transition:
    """The end of an execution whose node is offline: killed where a kill was requested before, else `node_lost`."""
    if kill_requested_by is not None:
        return machine.killed(f"killed by {kill_requested_by}; node {node_id} fell silent before it could say so")
    return machine.failed(Reason.NODE_LOST, f"node {node_id} fell silent while it ran, so how it went on is not known")


@dataclass(frozen=True)
class Capacity:
    """The most that a node takes on; None where the node has reported no bound."""

    max_workspaces: int | None
    memory_bytes: int | None
    pids: int | None = None
    """Processes and threads."""


@dataclass(frozen=True)
class Demand:
    """The limits of one workspace, which its node has to have room for."""

    memory_bytes: int
    pids: int
    """Processes and threads."""


@dataclass(frozen=True)
class Load:
    """The workspaces of a node that count: those in which a step runs or a chain is between two steps."""

    workspaces: int
    memory_bytes: int
    """Sum of their memory limits."""
    pids: int = 0
    """Sum of their limits of processes and threads."""


def load_text(workspaces: int, memory_bytes: int, capacity: Capacity) -> str:
    """A load beside its capacity, in a few words for people."""
    most = "any number of" if capacity.max_workspaces is None else capacity.max_workspaces
    size = "any number of" if capacity.memory_bytes is None else f"{capacity.memory_bytes / GB:.1f}"
    return f"{workspaces} of {most} workspaces, {memory_bytes / GB:.1f} of {size} GB"


def why_no_room(load: Load, capacity: Capacity, demand: Demand) -> str | None:
    """Why one more workspace does not fit on a node; None where it fits. The claim, the API and the doctor ask this.

    A node without load takes any workspace: a limit is no reservation, and a workspace that is larger than every node
    would wait for ever.

    Args:
        load: of the node, without that workspace.
        capacity: of the node.
        demand: of that workspace.
    """
    if load.workspaces == 0:
        return None
    if capacity.max_workspaces is not None and load.workspaces >= capacity.max_workspaces:
        return f"{load.workspaces} of {capacity.max_workspaces} workspaces are at work"
    if capacity.memory_bytes is not None and load.memory_bytes + demand.memory_bytes > capacity.memory_bytes:
        promised, of, more = (
            f"{size / GB:.1f}" for size in (load.memory_bytes, capacity.memory_bytes, demand.memory_bytes)
        )
        return f"{promised} of {of} GB promised, {more} GB more asked for"
    if capacity.pids is not None and load.pids + demand.pids > capacity.pids:
        return f"{load.pids} of {capacity.pids} processes promised, {demand.pids} more asked for"
    return None
