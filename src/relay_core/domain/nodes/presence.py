"""Presence of nodes: what a node says of itself, what the server concludes from its silence, and what that costs.

Two words about a node, with two owners. *Health* is the node's own report. *Liveness* is derived from the age of its
last heartbeat, by the server's clock alone. Neither is ever written by the other's owner.
"""

from dataclasses import dataclass

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import NodeHealth, Reason

OUTAGE_SECONDS = 15.0
"""Three ticks without a sweep by anybody: then it was us who were away, and nobody's silence counts."""


@dataclass(frozen=True)
class Bounds:
    """How long a node may be silent; *longer than*, so exactly `degraded_seconds` is still online.

    After an outage of ours silence is counted from one heartbeat interval after its end: every node that lives has had
    its chance to say so before anything is concluded.

    Raises:
        ValueError: they do not follow each other.
    """

    heartbeat_seconds: float = 15.0
    degraded_seconds: float = 30.0
    offline_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.heartbeat_seconds < self.degraded_seconds < self.offline_seconds:
            raise ValueError("the seconds to a heartbeat, to degraded and to offline have to grow in this order")


def health(*, engine_answers: bool, draining: bool, free_bytes: int, min_free_bytes: int) -> NodeHealth:
    """What a node says of itself: the worst of what it sees."""
    if not engine_answers:
        return NodeHealth.ENGINE_UNAVAILABLE
    if free_bytes < min_free_bytes:
        return NodeHealth.DISK_PRESSURE
    return NodeHealth.DRAINING if draining else NodeHealth.OK


def end_of_lost_run(node_id: str, kill_requested_by: str | None) -> Transition:
    """How a run ends whose node fell silent: as killed where somebody had asked for its end before."""
    if kill_requested_by is not None:
        return machine.killed(f"killed by {kill_requested_by}; node {node_id} fell silent before it could say so")
    return machine.failed(Reason.NODE_LOST, f"node {node_id} fell silent while it ran, so how it went on is not known")
