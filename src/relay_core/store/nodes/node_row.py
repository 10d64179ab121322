"""A row of `runtime_nodes` as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from relay_core.domain.nodes import Capacity
from relay_core.domain.vocabulary import Liveness, NodeHealth


@dataclass(frozen=True)
class NodeRow:
    """One node as it was read; made by `from_row` from all columns of `RuntimeNode`."""

    node_id: str
    pool: str
    reported_health: NodeHealth
    """Health that the node reports with its heartbeat."""
    liveness: Liveness
    """Lowered by the presence sweep, raised by a heartbeat."""
    last_heartbeat_at: datetime | None
    client_version: str | None
    """Version of Relay that its worker runs."""
    capabilities: Mapping[str, Any]
    draining: bool
    """It was told to take no new workspaces."""
    max_workspaces: int | None
    """Most workspaces at work at once; None: no limit is known."""
    memory_bytes: int | None
    """Most that the memory limits of those workspaces may add up to; None: no limit is known."""
    pids: int | None
    """Most that their limits of processes and threads may add up to; None: no limit is known."""
    epoch: int
    """Grows each time the node was offline and the reaper ended its executions."""
    created_at: datetime

    @classmethod
    def from_row(cls, row: RowMapping) -> "NodeRow":
        """The value of a row of `select(RuntimeNode)`; further columns of the row are ignored."""
        return cls(
            node_id=row["node_id"],
            pool=row["pool"],
            reported_health=NodeHealth(row["reported_health"]),
            liveness=Liveness(row["liveness"]),
            last_heartbeat_at=row["last_heartbeat_at"],
            client_version=row["client_version"],
            capabilities=row["capabilities"],
            draining=row["draining"],
            max_workspaces=row["max_workspaces"],
            memory_bytes=row["memory_bytes"],
            pids=row["pids"],
            epoch=row["epoch"],
            created_at=row["created_at"],
        )

    @property
    def capacity(self) -> Capacity:
        """Limits of what the node may promise."""
        return Capacity(self.max_workspaces, self.memory_bytes, self.pids)
