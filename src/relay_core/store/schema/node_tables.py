"""Tables of nodes and their presence."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store.schema.base import Base, created, one_of


class RuntimeNode(Base):
    """A host with a container engine and one or more workers."""

    __tablename__ = "runtime_nodes"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[str]
    reported_health: Mapped[str] = mapped_column(server_default=NodeHealth.OK)
    """Written by the node's heartbeat only."""
    liveness: Mapped[str] = mapped_column(server_default=Liveness.ONLINE)
    """Lowered by the presence sweep only, raised by a heartbeat only."""
    last_heartbeat_at: Mapped[datetime | None]
    client_version: Mapped[str | None]
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    max_workspaces: Mapped[int | None]
    """Most workspaces at work at once, written by its worker at each start; null: no limit is known."""
    memory_bytes: Mapped[int | None]
    """Most that the memory limits of these workspaces may add up to, in bytes; null: no limit is known."""
    pids: Mapped[int | None]
    """Most that their limits of processes and threads may add up to; null: no limit is known."""
    epoch: Mapped[int] = mapped_column(server_default=text("1"))
    """Grows each time the node was offline and the reaper ended its executions."""
    reaped_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = created()

    __table_args__ = (
        one_of("reported_health", NodeHealth, "runtime_nodes_reported_health"),
        one_of("liveness", Liveness, "runtime_nodes_liveness"),
    )


class PresenceSweep(Base):
    """One row: the time of the last presence sweep, and the end of the last outage in which no worker swept."""

    __tablename__ = "presence_sweeps"

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    swept_at: Mapped[datetime] = mapped_column(server_default=func.now())
    resumed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("single", name="presence_sweeps_single"),)
