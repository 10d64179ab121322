"""A row of `runtime_nodes` as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from relay_core.domain.nodes import Capacity, closed_by_operator
from relay_core.domain.vocabulary import Liveness, NodeHealth


@dataclass(frozen=True)
class NodeRow:
    """One row of `runtime_nodes` as it was read; `from_row` makes it."""

    node_id: str
    pool: str
    reported_health: NodeHealth
    """Health that the node reported with its last heartbeat."""
    liveness: Liveness
    """Whether the node is alive: only the presence sweep lowers it, only a heartbeat raises it."""
    last_heartbeat_at: datetime | None
    client_version: str | None
    """Version of Relay that the node's worker runs."""
    capabilities: Mapping[str, Any]
    declares: Sequence[str]
    """Capabilities that its operator declares, for runs that need them."""
    draining: bool
    """Whether an operator told the node to take no new workspaces; also true if it is revoked."""
    revoked_at: datetime | None
    """Since when it starts nothing and takes nothing over; None: it is not revoked."""
    max_workspaces: int | None
    """Most workspaces in which steps may run at once; None: no limit is known."""
    memory_bytes: int | None
    """Most bytes that the memory limits of those workspaces may add up to; None: no limit is known."""
    pids: int | None
    """Most processes and threads that the limits of those workspaces may add up to; None: no limit is known."""
    epoch: int
    """Grows each time the node went offline and the reaper ended its executions."""
    created_at: datetime

    @classmethod
    def from_row(cls, row: RowMapping) -> "NodeRow":
        """Make the value from a row of `select(RuntimeNode)`; additional columns of the row are ignored."""
        return cls(
            node_id=row["node_id"],
            pool=row["pool"],
            reported_health=NodeHealth(row["reported_health"]),
            liveness=Liveness(row["liveness"]),
            last_heartbeat_at=row["last_heartbeat_at"],
            client_version=row["client_version"],
            capabilities=row["capabilities"],
            declares=row["declares"],
            draining=row["draining"],
            revoked_at=row["revoked_at"],
            max_workspaces=row["max_workspaces"],
            memory_bytes=row["memory_bytes"],
            pids=row["pids"],
            epoch=row["epoch"],
            created_at=row["created_at"],
        )

    @property
    def closed_by_operator(self) -> str | None:
        """The word for what an operator told the node, `draining` or `revoked`; None: it takes work."""
        return closed_by_operator(draining=self.draining, revoked=self.revoked_at is not None)

    @property
    def capacity(self) -> Capacity:
        """The most that the node may promise to workspaces."""
        return Capacity(self.max_workspaces, self.memory_bytes, self.pids)
