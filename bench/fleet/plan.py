"""The plan of a measurement: the acts of the simulated fleet, and how often they happen."""

from dataclasses import dataclass
from typing import NamedTuple

RENEW_SECONDS = 5.0
HEARTBEAT_SECONDS = 15.0
LEASE_SECONDS = 30.0
POOL = "default"


@dataclass(frozen=True)
class Plan:
    """One measurement.

    Attributes:
        nodes: simulated nodes; each has one worker.
        executions: live executions of each worker.
        per_second: executions that are claimed and ended per second, by all of the fleet.
        processes: processes that simulate the fleet.
        connections: connections to Postgres of all these processes together.
        seconds: how long to measure.
    """

    nodes: int
    executions: int
    per_second: float
    processes: int
    connections: int
    seconds: float


class Sample(NamedTuple):
    """One act of the fleet.

    Attributes:
        kind: `renewal`, `heartbeat`, `claim` or `end`.
        at: when it ended, in seconds after the beginning of the measurement.
        took: seconds that it took, with the wait for a connection.
        late: seconds by which it began too late, because this machine was too slow for the plan.
    """

    kind: str
    at: float
    took: float
    late: float


def owner_of(node_id: str) -> str:
    """Return the incarnation of the one worker of a node."""
    return f"w1@{node_id}#fleet"


def node_ids(count: int) -> list[str]:
    """Return the ids of the simulated nodes."""
    return [f"fleet-{number:05}" for number in range(count)]
